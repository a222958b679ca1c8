"""Who received data from the speakers: organisations, their hosts, and how much went to and fro."""

from __future__ import annotations

from earwitness.report.layout import ROWS_SHOWN, Cell, Head, Section, Table, Words, left_out, plural
from earwitness.report.lineage import Grouping, Origin, trace
from earwitness.report.visible import count, size
from earwitness.store import Bundle

_SOURCE = """
    select c.profile, c.skill, coalesce(s.name, c.skill) as skill_name, c.host, c.party, c.flows,
           c.bytes_up, c.bytes_down, c.evidence, c.locator,
           coalesce(h.organisation, c.host) as organisation, coalesce(h.purpose, 'unknown') as purpose, h.source
    from contacts c
    left join hosts h on h.host = c.host
    left join skills s on s.skill = c.skill
"""
_SHOWN = ("host", "profile", "skill_name", "party", "flows", "bytes_up", "bytes_down", "evidence", "locator")
_VALUES = {
    "hosts": "count(distinct host)",
    "skills": "count(distinct skill)",
    "profiles": "count(distinct profile)",
    "sent": "sum(bytes_up)::bigint",
    "received": "sum(bytes_down)::bigint",
}

BY_ORGANISATION = Grouping(
    name="received",
    source=_SOURCE,
    keys=("organisation", "purpose"),
    values=_VALUES
    | {
        "host_names": "list(distinct host order by host) filter (host is not null)",
        "parties": "list(distinct party order by party) filter (party is not null)",
        "skill_names": "list(distinct skill_name order by skill_name) filter (skill_name is not null)",
        "own_traffic": "bool_or(skill is null)",
        "sources": "list(distinct source order by source) filter (source is not null)",
    },
    behind=_SOURCE,
    shown=_SHOWN,
    order="sent desc, organisation, purpose",
)
_ALL = Grouping(
    name="received-in-all",
    source=_SOURCE,
    values={"organisations": "count(distinct organisation)"}
    | _VALUES
    | {
        "tracking": "count(distinct organisation) filter (purpose = 'advertising_tracking')",
        "third": "count(distinct organisation) filter (party = 'third')",
    },
    behind=_SOURCE,
    shown=("organisation", "purpose", *_SHOWN),
)
_NAMED = 4
"""Host names printed under an organisation before the rest is counted."""
_SKILLS = 6
"""Skills named under an organisation before the rest is counted."""


def receivers(bundle: Bundle) -> Section:
    """The section on who received data, from `contacts` and `hosts`."""
    title = "Who received data from the speakers"
    rows = trace(bundle, BY_ORGANISATION)
    if not rows:
        return Section("received", title, nothing="No traffic of a speaker was recorded, so nobody can be named here.")
    whole = trace(bundle, _ALL)[0]
    profiles = whole.number("profiles", count)
    hosts, organisations = whole.number("hosts", count), whole.number("organisations", count)
    third, tracking = whole.number("third", count), whole.number("tracking", count)
    sentence = (
        plural(profiles, "The speaker of ", "The speakers of "),
        profiles,
        plural(profiles, " profile talked to ", " profiles talked to "),
        hosts,
        plural(hosts, " host of ", " hosts of "),
        organisations,
        plural(organisations, " organisation", " organisations"),
        ", and sent ",
        whole.number("sent", size),
        ". Of these organisations, ",
        third,
        plural(third, " is", " are"),
        " neither the platform nor the vendor of the skill in use, and ",
        tracking,
        plural(tracking, " runs", " run"),
        " a host that lists name as advertising or tracking.",
    )
    table = Table(
        id="received-table",
        caption="Organisations that received traffic from speakers, most bytes sent first",
        heads=(
            Head("Organisation"),
            Head("Purpose of its hosts"),
            Head("Hosts", True),
            Head("Skills", True),
            Head("Profiles", True),
            Head("Sent to it", True),
            Head("Received from it", True),
        ),
        rows=tuple(_row(origin) for origin in rows[:ROWS_SHOWN]),
        query=BY_ORGANISATION.query(),
        more=left_out(len(rows), "organisations"),
    )
    return Section(
        "received",
        title,
        sentences=(sentence,),
        tables=(table,),
        notes=(
            "Sizes are whole frames as they passed the router, headers included. "
            "What was said inside TLS is not read here.",
            "A skill counts where the host stands out in its time windows against the same speaker at rest; "
            "without any skill, the speaker talks to the host by itself.",
        ),
    )


def _row(origin: Origin) -> tuple[Cell, ...]:
    value = origin.values
    names = value["host_names"] or []
    notes = [", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")]
    if skills := value["skill_names"]:
        rest = f" and {len(skills) - _SKILLS} more" if len(skills) > _SKILLS else ""
        notes.append(f"because of {', '.join(skills[:_SKILLS])}{rest}")
    if value["own_traffic"]:
        notes.append("also without any skill" if value["skills"] else "without any skill")
    if value["sources"] == ["registrable_domain"]:
        notes.append("owner in no list; named after its domain")
    tags = tuple(_PARTIES.get(party, party) for party in value["parties"] or [])
    return (
        Words(value["organisation"], tags, tuple(notes)),
        Words(_PURPOSES.get(value["purpose"], value["purpose"])),
        origin.number("hosts", count),
        origin.number("skills", count),
        origin.number("profiles", count),
        origin.number("sent", size),
        origin.number("received", size),
    )


_PARTIES = {"vendor": "skill vendor", "third": "third party"}
_PURPOSES = {"advertising_tracking": "advertising or tracking"}
