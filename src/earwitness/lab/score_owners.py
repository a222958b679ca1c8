"""Who owns a host: by the world's published list, and whether the study got it right."""

from __future__ import annotations

import functools
import ipaddress
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from earwitness.lab.score_tally import Tally, rows_of
from earwitness.model.errors import BadInput

Organisation = Callable[[str], str]
"""From a host to the organisation that stands for it."""


def published_organisation(ownership_list: str) -> Organisation:
    """The owner of a host under an ownership list in DuckDuckGo's entity format.

    `ownership_list` is JSON: each entity's name with its `properties`, a list of domains. The entry with the
    longest matching suffix decides; where there is none, the registrable domain stands for the organisation.

    Raises:
        BadInput: the text is not such a list.
    """
    try:
        owners = {
            domain.lower(): entity
            for entity, facts in json.loads(ownership_list).items()
            for domain in facts["properties"]
        }
    except (ValueError, AttributeError, KeyError, TypeError):
        raise BadInput("ownership list", "start", "entities with their properties") from None

    @functools.cache
    def organisation(host: str) -> str:
        labels = host.lower().rstrip(".").split(".")
        suffixes = (".".join(labels[start:]) for start in range(len(labels)))
        named = next((owners[suffix] for suffix in suffixes if suffix in owners), None)
        return named or registrable_domain(host)

    return organisation


@functools.lru_cache(maxsize=65536)
def registrable_domain(host: str) -> str:
    """The part of `host` that its owner registered, by the public suffix list with its private part, offline.

    Where the list does not know the suffix, or the host is one itself, the last two labels; an address stays.
    """
    host = host.lower().strip(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        known = str(_suffix_list()(host).top_domain_under_public_suffix)
        return known or ".".join(host.split(".")[-2:])


@functools.cache
def _suffix_list() -> Any:
    import tldextract  # 0.3 s to import, and only the score needs it

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)


def ownership(hosts: pa.Table, truth_owners: pa.Table) -> Tally:
    """`hosts.organisation` against the true owners, over the hosts that both know.

    Names are compared without regard to case and spacing. A wrong name is a false claim and a missed owner. A host
    for which the study only has the registrable domain is a missed owner and no claim.
    """
    owners: dict[str, str] = dict(rows_of(truth_owners, "host", "organisation"))
    result = Tally(("host", "organisation", "owner"))
    claims: dict[str, str | None] = dict(rows_of(hosts, "host", "organisation"))
    for host, claimed in claims.items():
        owner = owners.get(host)
        if owner is None:
            continue
        if _plain(claimed) == _plain(owner):
            result.found += 1
            continue
        result.missed.append((host, claimed, owner))
        if claimed is not None and claimed != registrable_domain(host):
            result.false.append((host, claimed, owner))
    return result


def _plain(name: str | None) -> str:
    return " ".join((name or "").casefold().split())
