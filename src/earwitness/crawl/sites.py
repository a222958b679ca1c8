"""Which hosts belong to one site."""

from __future__ import annotations

from functools import lru_cache

import tldextract

# Offline: the list that ships with the package, with private suffixes (github.io and the like).
_extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


@lru_cache(maxsize=65536)
def registrable_domain(host: str) -> str:
    """The registrable domain of a host; the last two labels where the public suffix list knows no suffix.

    An address is its own domain.
    """
    host = host.strip(".").lower()
    found = _extract(host)
    if found.top_domain_under_public_suffix:
        return found.top_domain_under_public_suffix
    if found.suffix == host or found.ipv4 or found.ipv6:
        return host
    return ".".join(host.split(".")[-2:])
