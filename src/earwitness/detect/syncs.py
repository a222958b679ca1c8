"""Syncs: an identifier known to one organisation arriving at another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pyarrow as pa

from earwitness.detect.occurrence import ENCODINGS, ValueIndex
from earwitness.model.identity import row_id
from earwitness.model.tables import TABLES
from earwitness.parties import registrable_domain

ACCOUNT_ENCODINGS: tuple[tuple[str, Callable[[str], str]], ...] = (("plain", str),)
"""The forms in which an account identifier is looked for, each with its name in `syncs.encoding`; hashes go here."""


class _Known(NamedTuple):
    """An identifier, in one form in which it may travel."""

    identifier: str
    owner_host: str | None
    owner: str | None
    encoding: str


class _Arrival(NamedTuple):
    """An identifier seen in one part of one request, on its way to `receiver_host`."""

    value: str
    receiver_host: str
    sender_host: str | None
    channel: str
    times: int


def syncs(identifiers: pa.Table, requests: pa.Table, visits: pa.Table, hosts: pa.Table) -> pa.Table:
    """Every way in which an identifier reached another organisation, as the table `syncs`, sorted.

    A sync is an identifier standing, whole or delimited, in the path, query, body or Referer of a request to a host of
    another organisation than its owner and its sender: plain, or URL-encoded once or twice. An identifier that comes
    home to its owner is none, nor one that moves between two domains of one organisation, nor a cookie that goes to its
    own host. A `Location` counts only where the hop that should follow it was not recorded; else that hop is the proof.

    **Owner.** Where several sites of a profile keep one value: the one that had it first. The login mail has none.

    **Sender.** The host that made the browser send it: the host whose redirect led to the request; else that of the
    script, document or frame that caused it; for a Referer the page named in it. One exception: where that is the
    visited page's own site, the page does not own the identifier, and it was not seen to arrive there before, the page
    cannot know it by itself. Then the owner counts as the sender: it must have handed the value to code in the page.

    One row per (profile, identifier, sender_host, receiver_host, channel, encoding): the first request that proves it,
    whose evidence and locator it bears. Linear in the size of `requests`.

    Args:
        identifiers: table `identifiers`.
        requests: table `requests`, all hops.
        visits: table `visits`.
        hosts: table `hosts`; a host that it lacks has the organisation of its site's other hosts, else its site stands
            for the organisation.
    """
    organisation = _organisations(hosts)
    known = _known(identifiers, organisation)
    indices = {profile: ValueIndex(values) for profile, values in known.items()}
    profile_of = dict(zip(visits["visit"].to_pylist(), visits["profile"].to_pylist(), strict=True))
    rows = [row for row in requests.to_pylist() if profile_of.get(row["visit"]) in known]
    rows.sort(key=lambda row: (row["at"], row["visit"], row["hop"] or 0, row["request"]))
    senders = _Senders(rows)

    # For each profile and value, the organisations that it was already seen to reach.
    reached: dict[tuple[str, str], set[str]] = {}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        profile = profile_of[row["visit"]]
        for arrival in _arrivals(row, indices[profile], senders):
            identifier = known[profile][arrival.value]
            visited = reached.setdefault((profile, arrival.value), set())
            sender_host = arrival.sender_host
            if sender_host is not None:
                if identifier.owner_host is not None and senders.is_visited_site(row["visit"], sender_host):
                    page = organisation(sender_host)
                    if page != identifier.owner and page not in visited:
                        sender_host = identifier.owner_host
                sync = _sync(profile, row, arrival, identifier, sender_host, organisation)
                if sync["receiver"] not in (sync["sender"], identifier.owner):
                    found.setdefault(tuple(sync[column] for column in _KEY), sync)
            visited.add(organisation(arrival.receiver_host))
    return TABLES["syncs"].arrow(found[key] for key in sorted(found))


_KEY = ("profile", "identifier", "sender_host", "receiver_host", "channel", "encoding")


def _sync(
    profile: str,
    row: Mapping[str, Any],
    arrival: _Arrival,
    identifier: _Known,
    sender_host: str,
    organisation: Callable[[str], str],
) -> dict[str, Any]:
    encoding = identifier.encoding if identifier.encoding != "plain" else ENCODINGS[arrival.times]
    key = (profile, identifier.identifier, sender_host, arrival.receiver_host, arrival.channel, encoding)
    return {
        **dict(zip(_KEY, key, strict=True)),
        "sync": row_id("sync", *key),
        "sender": organisation(sender_host),
        "receiver": organisation(arrival.receiver_host),
        "request": row["request"],
        "owner": identifier.owner,
        "evidence": row["evidence"],
        "locator": row["locator"],
    }


def _known(identifiers: pa.Table, organisation: Callable[[str], str]) -> dict[str, dict[str, _Known]]:
    """Profile → text to look for → the identifier that it is."""
    known: dict[str, dict[str, _Known]] = {}
    rows = identifiers.to_pylist()
    stored = [row for row in rows if row["kind"] == "stored"]
    # The earliest first: the site that had a value first is its owner.
    stored.sort(key=lambda row: (row["first_seen"], row["owner_host"], row["identifier"]))
    accounts = [row for row in rows if row["kind"] == "account"]
    accounts.sort(key=lambda row: row["identifier"])
    for row in (*stored, *accounts):
        owner = organisation(row["owner_host"]) if row["owner_host"] else None
        forms = ACCOUNT_ENCODINGS if row["kind"] == "account" else (("plain", str),)
        for encoding, form in forms:
            entry = _Known(row["identifier"], row["owner_host"], owner, encoding)
            known.setdefault(row["profile"], {}).setdefault(form(row["value"]), entry)
    return known


def _arrivals(row: Mapping[str, Any], index: ValueIndex, senders: _Senders) -> Iterator[_Arrival]:
    host, sender = row["host"], senders.of(row)
    if host:
        path, query = _path_and_query(row["url"] or "")
        referer = row["referer"]
        for channel, text, sender_host in (
            ("path", path, sender),
            ("query", query, sender),
            ("body", row["body"], sender),
            ("referer", referer, _host(referer or "")),
        ):
            for value, times in sorted(index.find_decoded(text or "").items()):
                yield _Arrival(value, host, sender_host, channel, times)
    if host and row["location"] and not senders.was_followed(row["request"]):
        address = _absolute(row["url"] or "", row["location"])
        receiver = _host(address)
        if receiver:
            for value, times in sorted(index.find_decoded("?".join(_path_and_query(address))).items()):
                yield _Arrival(value, receiver, host, "location", times)


class _Senders:
    """Who made the browser send a request, and which site a visit is of."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """`rows` of `requests`, in the order of time."""
        self._host_of = {row["request"]: row["host"] for row in rows}
        self._followed = {row["redirected_from"] for row in rows if row["redirected_from"]}
        self._page: dict[str, str] = {}
        self._navigations: set[str] = set()
        last: dict[str, str] = {}
        for row in rows:
            if row["type"] == "document" and row["host"]:
                visit = row["visit"]
                if visit not in last:
                    self._navigations.add(row["request"])
                # The page is the visit's first document, or the last hop of its redirects.
                if visit not in last or row["redirected_from"] == last[visit]:
                    last[visit], self._page[visit] = row["request"], row["host"]

    def of(self, row: Mapping[str, Any]) -> str | None:
        """The sending host; None for the visit's own navigation, which nobody but the study caused."""
        if row["request"] in self._navigations:
            return None
        if row["redirected_from"] and (host := self._host_of.get(row["redirected_from"])):
            return str(host)
        return _host(row["initiator"] or "") or _host(row["frame_url"] or "") or self._page.get(row["visit"])

    def was_followed(self, request: str) -> bool:
        return request in self._followed

    def is_visited_site(self, visit: str, host: str) -> bool:
        page = self._page.get(visit)
        return page is not None and registrable_domain(page) == registrable_domain(host)


def _organisations(hosts: pa.Table) -> Callable[[str], str]:
    """A function from host to organisation, total over all hosts."""
    by_host: dict[str, str] = {}
    by_site: dict[str, str] = {}
    for row in sorted(hosts.to_pylist(), key=lambda row: str(row["host"])):
        by_host[row["host"]] = row["organisation"]
        by_site.setdefault(row["site"], row["organisation"])

    @cache
    def organisation(host: str) -> str:
        site = registrable_domain(host)
        return by_host.get(host) or by_site.get(site) or site

    return organisation


@lru_cache(maxsize=65_536)
def _host(url: str) -> str | None:
    try:
        return urlsplit(url.removeprefix("blob:")).hostname
    except ValueError:
        return None


def _path_and_query(url: str) -> tuple[str, str]:
    """What is sent of an address: path and query. The fragment is not."""
    rest = url.partition("#")[0].partition("://")[2]
    before, _, query = rest.partition("?")
    return before.partition("/")[2], query


def _absolute(base: str, location: str) -> str:
    """`location` as an absolute address; empty where it is none."""
    try:
        return urljoin(base, location)
    except ValueError:
        return ""
