"""How the study went: what could not be seen, and what was run with which means."""

from __future__ import annotations

from earwitness.report.layout import ROWS_SHOWN, Head, Section, Sentence, Table, Words, left_out, plural
from earwitness.report.lineage import Grouping, trace
from earwitness.report.visible import count, visible
from earwitness.store import Bundle

GAPS = Grouping(
    name="gap",
    source="select * from gaps",
    keys=("stage", "reason"),
    values={
        "gaps": "count(*)",
        "subjects": "count(distinct subject)",
        "examples": 'list(detail order by "at", subject, detail) filter (detail is not null)',
    },
    behind="select * from gaps",
    shown=("subject", "detail", '"at"', "step", "evidence", "locator"),
    order="gaps desc, stage, reason",
)
_GAPS_IN_ALL = Grouping(
    name="gaps-in-all",
    source="select * from gaps",
    values={"gaps": "count(*)", "reasons": "count(distinct (stage, reason))"},
    behind="select * from gaps",
    shown=("stage", "reason", *GAPS.shown),
)
_EXAMPLES = 3
_MEANS = 3
_ROUTERS = {
    "namespaces": "dumpcap at a router in network namespaces, which passes TLS on without opening it",
    "userspace": "a userspace router, which passes TLS on without opening it",
}

_PERSONAS_SOURCE = """
    select e.persona, e.role, e.interest, p.profile, p.replicate, p.account, p.device_mac, p.device_ip,
           p.evidence, p.locator
    from personas e
    left join profiles p on p.persona = e.persona
"""
PERSONAS = Grouping(
    name="persona",
    source=_PERSONAS_SOURCE,
    keys=("role", "persona", "interest"),
    values={"profiles": "count(profile)"},
    behind=_PERSONAS_SOURCE,
    shown=("profile", "replicate", "account", "device_mac", "device_ip", "evidence", "locator"),
    order="role, persona",
)
VISITS = Grouping(
    name="visits",
    source="select * from visits",
    keys=("phase",),
    values={
        "profiles": "count(distinct profile)",
        "passes": "count(distinct pass)",
        "sites": "count(distinct site)",
        "visits": "count(*)",
        "done": "count(*) filter (status = 'done')",
    },
    behind="select * from visits",
    shown=("started_at", "profile", "site", "status", "reason", "dwell_s", "browser", "evidence", "locator"),
    order="min(started_at), phase",
)
_SPOKEN = """
    select i.*, coalesce(s.name, i.skill) as skill_name
    from interactions i
    left join skills s on s.skill = i.skill
    where i.utterance is not null
"""
SPOKEN = Grouping(
    name="spoken",
    source=_SPOKEN,
    keys=("phase",),
    values={
        "profiles": "count(distinct profile)",
        "skills": "count(distinct skill)",
        "utterances": "count(*)",
        "answered": "count(*) filter (outcome = 'answered')",
    },
    behind=_SPOKEN,
    shown=("started_at", "profile", "skill_name", "utterance", "heard", "outcome", "evidence", "locator"),
    order="min(started_at), phase",
)
BROWSERS = Grouping(
    name="browser",
    source="select * from visits",
    keys=("browser",),
    values={"visits": "count(*)"},
    behind="select * from visits",
    shown=("started_at", "profile", "site", "evidence", "locator"),
    order="visits desc, browser",
)
_CAPTURES = Grouping(
    name="captures",
    source="select * from flows",
    values={
        "captures": "count(distinct capture)",
        "flows": "count(*)",
        "packets": "coalesce(sum(packets_up + packets_down), 0)::bigint",
        "unnamed": "count(*) filter (host is null)",
    },
    behind="select * from flows",
    shown=("first_seen", "profile", "host", "host_source", "server_ip", "server_port", "evidence", "locator"),
)


def gaps(bundle: Bundle) -> Section:
    """The section on what could not be seen, from `gaps`."""
    title = "What could not be seen"
    rows = trace(bundle, GAPS)
    if not rows:
        return Section(
            "unseen", title, nothing="No gap was written down: every planned visit and utterance was recorded."
        )
    whole = trace(bundle, _GAPS_IN_ALL)[0]
    total, reasons = whole.number("gaps", count), whole.number("reasons", count)
    table = Table(
        id="unseen-table",
        caption="Gaps by stage and reason",
        heads=(Head("Stage"), Head("Reason"), Head("Gaps", True), Head("Subjects", True), Head("First details")),
        rows=tuple(
            (
                Words(o.values["stage"] or "unknown"),
                Words((o.values["reason"] or "unknown").replace("_", " ")),
                o.number("gaps", count),
                o.number("subjects", count),
                Words("", notes=tuple((o.values["examples"] or [])[:_EXAMPLES])),
            )
            for o in rows[:ROWS_SHOWN]
        ),
        query=GAPS.query(),
        more=left_out(len(rows), "reasons"),
    )
    sentence: Sentence = (
        total,
        plural(total, " thing was", " things were"),
        " not seen, for ",
        reasons,
        plural(reasons, " reason.", " reasons."),
        " Each limits what the findings can say.",
    )
    return Section("unseen", title, sentences=(sentence,), tables=(table,))


def conduct(bundle: Bundle) -> Section:
    """The section on what was run: personas, utterances, visits, and by which means."""
    title = "What was run"
    tables = [table for table in (_personas(bundle), _spoken(bundle), _visits(bundle)) if table.rows]
    return Section("conduct", title, sentences=_means(bundle), tables=tuple(tables))


def _personas(bundle: Bundle) -> Table:
    return Table(
        id="personas-table",
        caption="Personas; profiles were assigned to them at random",
        heads=(Head("Persona"), Head("Role"), Head("Interest"), Head("Profiles", True)),
        rows=tuple(
            (
                Words(o.values["persona"] or "unknown"),
                Words(o.values["role"] or "unknown"),
                Words(o.values["interest"] or "none"),
                o.number("profiles", count),
            )
            for o in trace(bundle, PERSONAS)[:ROWS_SHOWN]
        ),
        query=PERSONAS.query(),
    )


def _spoken(bundle: Bundle) -> Table:
    return Table(
        id="spoken-table",
        caption="What was said to the speakers, by phase",
        heads=(
            Head("Phase"),
            Head("Profiles", True),
            Head("Skills", True),
            Head("Utterances", True),
            Head("Answered", True),
        ),
        rows=tuple(
            (
                Words(o.values["phase"] or "unknown"),
                *(o.number(name, count) for name in ("profiles", "skills", "utterances", "answered")),
            )
            for o in trace(bundle, SPOKEN)[:ROWS_SHOWN]
        ),
        query=SPOKEN.query(),
    )


def _visits(bundle: Bundle) -> Table:
    return Table(
        id="visits-table",
        caption="Pages visited, by phase",
        heads=(
            Head("Phase"),
            Head("Profiles", True),
            Head("Passes", True),
            Head("Sites", True),
            Head("Visits", True),
            Head("Done", True),
        ),
        rows=tuple(
            (
                Words(o.values["phase"] or "unknown"),
                *(o.number(name, count) for name in ("profiles", "passes", "sites", "visits", "done")),
            )
            for o in trace(bundle, VISITS)[:ROWS_SHOWN]
        ),
        query=VISITS.query(),
    )


def _captured_by(bundle: Bundle) -> str:
    """By which means, as the interactions say."""
    means = bundle.sql("select distinct captured_by from interactions where captured_by is not null order by all")
    named = []
    for name in means["captured_by"].to_pylist()[:_MEANS]:
        kind, _, reason = str(name).partition(": ")
        named.append(visible(_ROUTERS.get(kind, kind) + (f" ({reason})" if reason else ""))[:200])
    return " and ".join(named) or "means that nobody wrote down"


def _means(bundle: Bundle) -> tuple[Sentence, ...]:
    """Sentences on how speakers and pages were recorded."""
    sentences: list[Sentence] = []
    traffic = trace(bundle, _CAPTURES)[0]
    if traffic.values["flows"]:
        captures, unnamed = traffic.number("captures", count), traffic.number("unnamed", count)
        sentences.append(
            (
                f"The speakers' traffic was recorded by {_captured_by(bundle)}: ",
                captures,
                plural(captures, " capture, ", " captures, "),
                traffic.number("packets", count),
                " packets, ",
                traffic.number("flows", count),
                " flows, of which ",
                unnamed,
                plural(unnamed, " has no name.", " have no name."),
            )
        )
    for origin in trace(bundle, BROWSERS)[:ROWS_SHOWN]:
        visits = origin.number("visits", count)
        sentences.append(
            (
                visits,
                plural(visits, " page visit with ", " page visits with "),
                Words(origin.values["browser"] or "an unnamed browser"),
                ".",
            )
        )
    return tuple(sentences) or (("Nothing was run yet.",),)
