"""The persona browser: takes a profile's sealed snapshot and pages to visit, gives what the browser saw, row by row.

Real Chromium, driven over its DevTools protocol. `run_pass` makes one pass; `screenshot` and `open_page` show a local
page to tests and reports.
"""

from earwitness.crawl.browse import run_pass
from earwitness.crawl.chromium import find_chromium
from earwitness.crawl.page import open_page, screenshot
from earwitness.crawl.visit import CrawlInterrupted, PassResult, SignIn, VisitPlan

__all__ = [
    "CrawlInterrupted",
    "PassResult",
    "SignIn",
    "VisitPlan",
    "find_chromium",
    "open_page",
    "run_pass",
    "screenshot",
]
