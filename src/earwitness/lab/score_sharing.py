"""The sharing side of the score: identifiers, syncs, and the organisations that they make partners or downstream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import pyarrow as pa

from earwitness.lab.score_owners import Organisation, registrable_domain
from earwitness.lab.score_tally import rows_of
from earwitness.lab.score_web import Visits, cookie_pairs, set_cookie

Identifier = tuple[str, str, str]
"""(profile, registrable domain of the owner, value)."""

MintedCookie = tuple[str, str]
"""(domain, name) of a cookie by which an organisation of the world knows a browser."""


@dataclass(frozen=True, order=True)
class Edge:
    """An identifier's way from one host to another, for one profile."""

    profile: str
    sender: str
    receiver: str
    identifier: str


def true_identifiers(
    truth_requests: pa.Table,
    truth_syncs: pa.Table,
    visits: Visits,
    minted: Collection[MintedCookie],
) -> tuple[set[Identifier], set[Identifier]]:
    """What could be found as an identifier, and every identifier whose owner is known.

    An identifier is the value of a cookie in `minted`, owned by the registrable domain of the cookie. It could be found
    if the profile's browser sent or received it in at least two completed visits (METHOD: "same within a profile over
    at least two visits"), or if it was part of a sync in one. Time stamps, consent strings and constants are cookies
    too, but none that an organisation knows a browser by.
    """
    seen: dict[Identifier, set[str]] = defaultdict(set)
    of_name: dict[str, list[str]] = defaultdict(list)
    for domain, name in minted:
        of_name[name].append(domain)
    for profile, at, host, header, lines in rows_of(
        truth_requests, "profile", "at", "host", "cookie_header", "set_cookie"
    ):
        visit = visits.at(profile, at)
        pairs = {(host, *pair) for pair in cookie_pairs(header)}
        pairs |= {set_cookie(line, host) for line in lines or ()}
        for where, name, value in pairs if visit else ():
            for domain in of_name.get(name, ()):
                if value and _covers(domain, where):
                    seen[profile, registrable_domain(domain), value].add(str(visit))
    synced = {(edge.profile, edge.identifier) for edge in true_edges(truth_syncs, visits)}
    findable = {key for key, where in seen.items() if len(where) >= 2 or (key[0], key[2]) in synced}
    return findable, set(seen)


def measured_identifiers(identifiers: pa.Table) -> set[Identifier]:
    """The identifiers that a study claims, without those that it knew beforehand (kind `account`)."""
    return {
        (profile, registrable_domain(owner or ""), value)
        for profile, kind, owner, value in rows_of(identifiers, "profile", "kind", "owner_host", "value")
        if kind != "account"
    }


def true_edges(truth_syncs: pa.Table, visits: Visits) -> set[Edge]:
    """The syncs that happened in completed visits, own-organisation ones included."""
    return {
        Edge(profile, sender, receiver, identifier)
        for profile, at, sender, receiver, identifier in rows_of(
            truth_syncs, "profile", "at", "sender_host", "receiver_host", "identifier"
        )
        if visits.at(profile, at) is not None
    }


def measured_edges(syncs: pa.Table, identifiers: pa.Table) -> set[Edge]:
    """The syncs that a study claims; `syncs.identifier` may be a value or the row of `identifiers` that holds it."""
    value_of: dict[str, str] = dict(rows_of(identifiers, "identifier", "value"))
    return {
        Edge(profile, sender or "", receiver or "", str(value_of.get(identifier, identifier)))
        for profile, sender, receiver, identifier in rows_of(
            syncs, "profile", "sender_host", "receiver_host", "identifier"
        )
    }


def between_organisations(edges: Iterable[Edge], organisation: Organisation) -> set[Edge]:
    """`edges` without those that stay within one organisation."""
    return {edge for edge in edges if organisation(edge.sender) != organisation(edge.receiver)}


def rolled_up(edges: Iterable[Edge], organisation: Organisation) -> set[tuple[str, str]]:
    """The (sender, receiver) organisations of `edges`."""
    return {(organisation(edge.sender), organisation(edge.receiver)) for edge in edges}


def partners(
    edges: Iterable[Edge],
    owners: Iterable[Identifier],
    platform: Collection[str],
    organisation: Organisation,
) -> set[str]:
    """The organisations that send their own identifier to the platform.

    `platform` holds the names that stand for it. An identifier that no one in `owners` has counts as the sender's.
    """
    own: dict[tuple[str, str], set[str]] = defaultdict(set)
    for profile, site, value in owners:
        own[profile, value].add(organisation(site))
    return {
        sender
        for edge in edges
        if organisation(edge.receiver) in platform
        if (sender := organisation(edge.sender)) not in platform
        if sender in own.get((edge.profile, edge.identifier), {sender})
    }


def downstream(
    edges: Iterable[Edge],
    partners: Collection[str],
    platform: Collection[str],
    organisation: Organisation,
) -> set[str]:
    """The organisations, neither platform nor partner, that an identifier reaches from a partner.

    Directly or over further hops: each identifier of each profile is followed from every partner that sends it.
    """
    ways: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for edge in edges:
        way = ways[edge.profile, edge.identifier]
        way[organisation(edge.sender)].add(organisation(edge.receiver))
    reached: set[str] = set()
    for way in ways.values():
        open_ends = [sender for sender in way if sender in partners]
        passed: set[str] = set()
        while open_ends:
            sender = open_ends.pop()
            if sender not in passed:
                passed.add(sender)
                open_ends.extend(way.get(sender, ()))
        reached |= passed
    return reached - set(partners) - set(platform)


def _covers(domain: str, host: str) -> bool:
    return host == domain or host.endswith("." + domain)
