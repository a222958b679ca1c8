"""Collectors: each records one kind of evidence through four hooks, and judges nothing."""

from earwitness.crawl.collectors.base import Collector, Record
from earwitness.crawl.collectors.bids import BidsCollector
from earwitness.crawl.collectors.cookies import CookiesCollector
from earwitness.crawl.collectors.creatives import CreativesCollector
from earwitness.crawl.collectors.requests import RequestsCollector

__all__ = [
    "BidsCollector",
    "Collector",
    "CookiesCollector",
    "CreativesCollector",
    "Record",
    "RequestsCollector",
]
