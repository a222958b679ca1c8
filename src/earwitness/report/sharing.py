"""Who passes a person's identifier to whom: sync edges between organisations, partners, downstream."""

from __future__ import annotations

from collections.abc import Mapping

from earwitness.detect import reach_query
from earwitness.model.sql import literal
from earwitness.report.graph import Pair, sharing_graph
from earwitness.report.layout import ROWS_SHOWN, Cell, Head, Section, Sentence, Table, Words, left_out, plural
from earwitness.report.lineage import Grouping, Origin, trace
from earwitness.report.visible import count
from earwitness.store import Bundle

_BEHIND = """
    select s.sender, s.receiver, s.profile, s.sender_host, s.receiver_host, s.channel, s.encoding,
           (select min(i.value) from identifiers i where i.identifier = s.identifier) as value,
           (select min(r.url) from requests r where r.request = s.request) as url,
           s.evidence, s.locator
    from syncs s
"""
_LINES = 2_000
"""Pairs beyond the table that are listed by name."""
_SHOWN = ("profile", "sender_host", "receiver_host", "channel", "encoding", "value", "evidence", "locator", "url")


def _edges(platform: str | None) -> Grouping:
    """Organisation edges; those with the platform first, then those of its partners."""
    platform_first = f"receiver = {literal(platform)} desc, sender = {literal(platform)} desc, " if platform else ""
    return Grouping(
        name="sharing",
        source="select * from syncs",
        keys=("sender", "receiver"),
        values={
            "profiles": "count(distinct profile)",
            "identifiers": "count(distinct identifier)",
            "transfers": "count(*)",
            "channels": "list(distinct channel order by channel) filter (channel is not null)",
            "encodings": "list(distinct encoding order by encoding) filter (encoding is not null)",
        },
        behind=_BEHIND,
        shown=_SHOWN,
        order=platform_first + "sender, receiver",
    )


def _roles(platform: str) -> Grouping:
    reach = reach_query(platform)
    return Grouping(
        name="sharing-roles",
        source=reach,
        values={
            "partners": "count(*) filter (role = 'partner')",
            "downstream": "count(*) filter (role = 'downstream')",
        },
        behind=_BEHIND,
        shown=("sender", "receiver", *_SHOWN),
    )


_ALL = Grouping(
    name="sharing-in-all",
    source="select * from syncs",
    values={
        "identifiers": "count(distinct identifier)",
        "profiles": "count(distinct profile)",
        "edges": "count(distinct (sender, receiver))",
    },
    behind=_BEHIND,
    shown=("sender", "receiver", *_SHOWN),
)


def sharing(bundle: Bundle, platform: str | None) -> Section:
    """The section on shared identifiers, from `syncs`; `platform` is the platform's organisation as `syncs` names it.

    Without a platform nobody can be a partner or downstream, so nothing is said of either.
    """
    title = "Who shares identifiers"
    grouping = _edges(platform)
    edges = trace(bundle, grouping)
    if not edges:
        return Section(
            "sharing",
            title,
            nothing="No identifier of a profile was seen arriving at another organisation. That is not proof that none "
            "was passed on: sharing between servers cannot be seen from a browser.",
        )
    whole = trace(bundle, _ALL)[0]
    identifiers, profiles = whole.number("identifiers", count), whole.number("profiles", count)
    pairs = whole.number("edges", count)
    sentence: Sentence = (
        identifiers,
        plural(identifiers, " identifier of ", " identifiers of "),
        profiles,
        plural(profiles, " profile was", " profiles were"),
        " seen arriving at another organisation, over ",
        pairs,
        plural(pairs, " pair", " pairs"),
        " of sender and receiver. ",
    )
    roles: dict[str, str] = {}
    if platform:
        reached = bundle.sql(reach_query(platform))
        roles = dict(zip(reached["organisation"].to_pylist(), reached["role"].to_pylist(), strict=True))
        roles[platform] = "platform"
        sentence += _partners(bundle, platform)
    table = Table(
        id="sharing-table",
        caption="Organisations that pass on identifiers; those that send to the platform first",
        heads=(
            Head("Sender"),
            Head("Receiver"),
            Head("Profiles", True),
            Head("Identifiers", True),
            Head("Transfers", True),
            Head("Channel"),
            Head("Encoding"),
        ),
        rows=tuple(_row(origin, roles) for origin in edges[:ROWS_SHOWN]),
        query=grouping.query(),
        more=left_out(len(edges), "pairs"),
    )
    return Section(
        "sharing",
        title,
        sentences=(sentence,),
        tables=(table,),
        rest=tuple(_line(origin) for origin in edges[ROWS_SHOWN : ROWS_SHOWN + _LINES]),
        graph=sharing_graph(
            (
                Pair(origin.values["sender"], origin.values["receiver"], origin.values["profiles"])
                for origin in edges
                if origin.values["sender"] is not None and origin.values["receiver"] is not None
            ),
            roles,
        ),
        notes=(
            "An identifier is a value kept in cookies or storage that stays the same within a profile "
            "over at least two visits and occurs in no other profile, or the login mail.",
            "Identifiers are found where they are passed on as they are or URL-encoded. "
            "Hashed or otherwise encoded ones are not looked for yet, so these figures are a floor.",
        ),
    )


def _line(origin: Origin) -> str:
    """A pair for which the table has no room."""
    sender, receiver = (str(origin.values[end] or "unknown")[:60] for end in ("sender", "receiver"))
    return f"{sender} → {receiver}: profiles {origin.values['profiles']}, transfers {origin.values['transfers']}"


def _partners(bundle: Bundle, platform: str) -> Sentence:
    counted = trace(bundle, _roles(platform))[0]
    partners, downstream = counted.number("partners", count), counted.number("downstream", count)
    return (
        partners,
        plural(partners, " organisation is a partner: it sends its", " organisations are partners: they send their"),
        " own identifier for a profile to the platform, ",
        Words(platform),
        ". ",
        downstream,
        plural(downstream, " further organisation is", " further organisations are"),
        " downstream: an identifier reaches",
        plural(downstream, " it", " them"),
        " from a partner.",
    )


def _row(origin: Origin, roles: Mapping[str, str]) -> tuple[Cell, ...]:
    value = origin.values
    return (
        _organisation(value["sender"], roles),
        _organisation(value["receiver"], roles),
        origin.number("profiles", count),
        origin.number("identifiers", count),
        origin.number("transfers", count),
        Words(", ".join(value["channels"] or [])),
        Words(", ".join(value["encodings"] or [])),
    )


def _organisation(name: str | None, roles: Mapping[str, str]) -> Words:
    role = roles.get(name or "")
    return Words(name or "unknown", (role,) if role else ())
