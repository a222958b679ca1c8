"""Registrable domains, from the public-suffix list that ships with tldextract; nothing is fetched."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tldextract import TLDExtract

_ADDRESS = re.compile(r"[0-9.]+|.*:.*", re.DOTALL)


def normal_host(host: str) -> str:
    """The host as lists write it: lower case, without brackets and without the root's dot."""
    return host.strip("[]").rstrip(".").lower()


@lru_cache(maxsize=65_536)
def registrable_domain(host: str) -> str:
    """The part of a host name that somebody registered, for example ``tracker.co.uk``.

    Private suffixes count, so that each customer of a cloud is a site of its own (``d1.cloudfront.net``). Where no
    suffix is known, and for a host that is itself a suffix, the last two labels stand for it. An address stands for
    itself. Any text gives an answer; text that is no host gives a useless one.

    Source: publicsuffix.org, as bundled with tldextract.
    """
    host = normal_host(host)
    if _ADDRESS.fullmatch(host):
        return host
    known = _suffixes()(host)
    if known.suffix and known.domain:
        return f"{known.domain}.{known.suffix}"
    return ".".join(host.split(".")[-2:])


def names_to_look_up(host: str) -> list[str]:
    """Under which names a list may know `host`, longest first: itself, its parents, its registrable domain.

    A host that is itself a private suffix (``s3.amazonaws.com``) may only be known under its full name: what lies above
    belongs to the cloud, what happens there to its customers.
    """
    host = normal_host(host)
    if _ADDRESS.fullmatch(host):
        return [host]
    known = _suffixes()(host)
    if known.is_private and not known.domain:
        return [host]
    site = registrable_domain(host)
    names = [host]
    while names[-1] != site and "." in names[-1]:
        names.append(names[-1].split(".", 1)[1])
    return names


@cache
def _suffixes() -> TLDExtract:
    # Imported late: it brings an HTTP client that we never use, and costs a fifth of a second.
    from tldextract import TLDExtract

    return TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)
