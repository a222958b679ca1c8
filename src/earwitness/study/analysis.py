"""Analysis: from evidence and collected tables to flows, hosts, contacts, identifiers, syncs, tests and findings.

Each part is a step that replaces its shards; the same input gives byte-identical tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from earwitness.capture import read_capture
from earwitness.detect import contact_gaps, contacts, identifiers, syncs
from earwitness.parties import Directory
from earwitness.stats import Hypothesis, attainable_p, bid_tests
from earwitness.store import Bundle
from earwitness.study.config import StudyFile
from earwitness.study.findings import findings

_ALPHA = 0.05


def analyse(bundle: Bundle, study: StudyFile, progress: Callable[[str, int, int], None] = lambda *_: None) -> None:
    """Redo the whole analysis from what was collected; nothing is collected here.

    `progress("analyse", done, total)` is called after each part.
    """
    packets = _flows(bundle)
    parts: list[Callable[[], None]] = [
        lambda: _hosts(bundle, study),
        lambda: _contacts(bundle, study, packets),
        lambda: _sharing(bundle),
        lambda: _tests(bundle, study),
        lambda: _findings(bundle, study),
    ]
    for number, part in enumerate(parts, 1):
        progress("analyse", number, len(parts) + 1)
        part()
    progress("analyse", len(parts) + 1, len(parts) + 1)


def _flows(bundle: Bundle) -> pa.Table:
    """Read every capture of completed steps; returns the packets of all flows, which are not stored."""
    profiles = {s.step: s.profile for s in bundle.ledger.plan()}
    done = bundle.ledger.done()
    captures = [a for a in bundle.ledger.evidence() if a.kind == "capture" and a.step in done]
    windows = _windows(bundle)
    packets: list[pa.Table] = []
    with bundle.step("analyse/flows", "capture", replace=True) as step:
        for artefact in sorted(captures, key=lambda a: a.step):
            profile = profiles.get(artefact.step) or ""
            capture = read_capture(bundle.evidence_path(artefact.sha256))
            flows = _set(capture.flows, "profile", [profile] * capture.flows.num_rows)
            starts = flows["first_seen"].to_pylist()
            named = [_interaction_at(windows.get(profile, []), at) for at in starts]
            step.write("flows", _set(flows, "interaction", named))
            step.write("dns_answers", capture.dns)
            step.write("gaps", [{**gap, "subject": artefact.step} for gap in capture.gaps])
            packets.append(capture.packets_of_flows)
    return pa.concat_tables(packets) if packets else None


def _hosts(bundle: Bundle, study: StudyFile) -> None:
    names: set[str] = set()
    for query in (
        "select distinct host from flows where host is not null",
        "select distinct host from requests where host is not null",
        "select distinct host from cookies where host is not null",
    ):
        names |= set(bundle.sql(query)["host"].to_pylist())
    directory = Directory.load(
        ownership=[bundle.directory / name for name in study.lists.ownership],
        filters=[bundle.directory / name for name in study.lists.filters],
    )
    with bundle.step("analyse/hosts", "parties", replace=True) as step:
        step.write("hosts", directory.hosts(sorted(names)))
        step.write("gaps", directory.gaps)


def _contacts(bundle: Bundle, study: StudyFile, packets: pa.Table | None) -> None:
    with bundle.step("analyse/contacts", "detect", replace=True) as step:
        if packets is not None:
            flows, talks = bundle.table("flows"), bundle.table("interactions")
            hosts, skills = bundle.table("hosts"), bundle.table("skills")
            step.write("contacts", contacts(flows, packets, talks, hosts, study.platform.organisation, skills))
            step.write("gaps", contact_gaps(flows, packets, talks))


def _sharing(bundle: Bundle) -> None:
    visits, requests = bundle.table("visits"), bundle.table("requests")
    with bundle.step("analyse/sharing", "detect", replace=True) as step:
        known = identifiers(bundle.table("cookies"), visits, bundle.table("profiles"), requests)
        step.write("identifiers", known)
        step.write("syncs", syncs(known, requests, visits, bundle.table("hosts")))


def hypotheses(study: StudyFile) -> list[Hypothesis]:
    """The frozen hypotheses, with their standing: confirmatory only where the design can reach Holm's first step."""
    sizes = {p.name: p.profiles for p in study.personas}
    found = []
    for entry in study.hypotheses:
        family = [h for h in study.hypotheses if h.family == entry.family]
        least = attainable_p(sizes[entry.persona], sizes[entry.control], entry.alternative)
        found.append(
            Hypothesis(
                name=entry.name,
                family=entry.family,
                persona=entry.persona,
                control=entry.control,
                outcome=entry.outcome,
                alternative=entry.alternative,
                registered=least <= _ALPHA / len(family),
            )
        )
    return found


def _tests(bundle: Bundle, study: StudyFile) -> None:
    frozen = {name for name, _, _ in bundle.ledger.hypotheses()}
    planned = [h for h in hypotheses(study) if h.name in frozen]
    with bundle.step("analyse/tests", "stats", replace=True) as step:
        step.write("tests", bid_tests(bundle.table("bids"), bundle.table("visits"), bundle.table("profiles"), planned))


def _findings(bundle: Bundle, study: StudyFile) -> None:
    with bundle.step("analyse/findings", "study", replace=True) as step:
        step.write("findings", findings(bundle, study))


def _windows(bundle: Bundle) -> dict[str, list[tuple[datetime, datetime, str]]]:
    rows = bundle.sql(
        "select profile, started_at, ended_at, interaction from interactions where skill is not null order by 2"
    ).to_pylist()
    found: dict[str, list[tuple[datetime, datetime, str]]] = {}
    for row in rows:
        found.setdefault(row["profile"], []).append((row["started_at"], row["ended_at"], row["interaction"]))
    return found


def _interaction_at(windows: Sequence[tuple[datetime, datetime, str]], at: datetime) -> str | None:
    return next((name for start, end, name in windows if start <= at <= end), None)


def _set(table: pa.Table, column: str, values: list[Any]) -> pa.Table:
    index = table.schema.get_field_index(column)
    field = table.schema.field(index)
    return table.set_column(index, field, pa.array(values, field.type))
