"""The page itself: sections to HTML, with nothing foreign as markup and nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from earwitness.report.actions import actions
from earwitness.report.bids import BY_PROFILE, bids, hypothesis_tests
from earwitness.report.chart import bid_chart
from earwitness.report.claims import claims, findings_json
from earwitness.report.conduct import conduct, gaps
from earwitness.report.gallery import ads
from earwitness.report.layout import Cell, Section
from earwitness.report.lineage import FIRST_ROWS, Number, Origin, trace
from earwitness.report.receivers import receivers
from earwitness.report.sharing import sharing
from earwitness.report.visible import visible, words
from earwitness.store import Bundle

_ROWS_BUDGET = 700_000
"""Characters of queries and evidence rows on the page; beyond it, numbers only give the query of their rows."""

_PERIOD = """
select min(started_at) as first, max(ended_at) as last
from (select started_at, ended_at from visits union all select started_at, ended_at from interactions)
"""
_PLATFORM = """
select h.organisation from contacts c join hosts h on h.host = c.host
where c.party = 'platform' and h.organisation is not null
group by all order by count(*) desc, h.organisation limit 1
"""


def render(bundle: Bundle) -> str:
    """The report as one HTML document; the same tables and study.yaml give the same text."""
    study = bundle.study
    platform = _platform(bundle, study)
    profiles = trace(bundle, BY_PROFILE)
    sections = [
        receivers(bundle),
        sharing(bundle, platform),
        bids(bundle, profiles),
        hypothesis_tests(bundle),
        ads(bundle),
        gaps(bundle),
        conduct(bundle),
    ]
    origins = list(_origins(sections))
    environment = _environment()
    style, script = (_template_text(environment, name) for name in ("style.css", "script.js"))
    return environment.get_template("report.html.j2").render(
        policy=_content_security_policy(style, script),
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        title=str(study.get("title") or "Untitled study"),
        question=str(study.get("question") or ""),
        world=_world(study),
        platform=platform,
        period=_period(bundle),
        claims=claims(bundle),
        sections=sections,
        chart=bid_chart(profiles),
        actions=actions(bundle, platform),
        origins=origins,
        evidence_shown=_evidence_shown(origins),
    )


def write_report(bundle: Bundle) -> Path:
    """Write findings/report.html and findings/findings.json, each as a whole or not at all.

    Returns:
        The path of report.html.
    """
    folder = bundle.directory / "findings"
    folder.mkdir(exist_ok=True)
    _write(folder / "findings.json", json.dumps(findings_json(bundle), indent=2, ensure_ascii=False) + "\n")
    path = folder / "report.html"
    _write(path, render(bundle))
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("earwitness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = lambda value, keep="": visible(str(value), keep)
    environment.filters["words"] = words
    environment.globals["first_rows"] = FIRST_ROWS
    return environment


def _template_text(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _content_security_policy(style: str, script: str) -> str:
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _world(study: Mapping[str, Any]) -> dict[str, str] | None:
    """Name and seed of the simulated world; None where the study is of the real internet."""
    world = study.get("world")
    if world is None:
        return None
    named = world if isinstance(world, Mapping) else {"name": world}
    return {"name": str(named.get("name", "unnamed")), "seed": str(named.get("seed", "unknown"))}


def _platform(bundle: Bundle, study: Mapping[str, Any]) -> str | None:
    """The platform's organisation: as the study says, else who runs the hosts that were found to be the platform's."""
    platform = study.get("platform")
    if isinstance(platform, Mapping) and platform.get("organisation"):
        return str(platform["organisation"])
    found = bundle.sql(_PLATFORM)["organisation"].to_pylist()
    return str(found[0]) if found else None


def _period(bundle: Bundle) -> str:
    row = bundle.sql(_PERIOD).to_pylist()[0]
    first, last = row["first"], row["last"] or row["first"]
    if first is None:
        return ""
    if first.date() == last.date():
        return f"{first:%Y-%m-%d, %H:%M} to {last:%H:%M} UTC"
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"


def _origins(sections: Iterable[Section]) -> Iterable[Origin]:
    """Each origin that a number on the page opens to, once, in the order of the page."""
    seen: dict[str, Origin] = {}
    for section in sections:
        cells: list[Cell] = [cell for table in section.tables for row in table.rows for cell in row]
        cells += [number for card in section.cards for number in (card.impressions, card.profiles)]
        for cell in (*section.sentences, *cells):
            for part in cell if isinstance(cell, tuple) else (cell,):
                if isinstance(part, Number):
                    seen.setdefault(part.origin.id, part.origin)
    return seen.values()


def _evidence_shown(origins: Iterable[Origin]) -> int:
    """How many of the origins can print their rows before the page becomes too large."""
    spent = shown = 0
    for origin in origins:
        spent += len(origin.sql) + len(origin.rows_sql)
        spent += sum(min(len(words(value)), 400) + 60 for row in origin.rows for value in row)
        if spent > _ROWS_BUDGET:
            break
        shown += 1
    return shown


def _write(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
