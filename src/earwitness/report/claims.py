"""The findings: the sentences of the first screen, each with its query, what that gives, and its first evidence."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from earwitness.model.errors import BadInput
from earwitness.model.tables import TABLES
from earwitness.report.lineage import FIRST_ROWS
from earwitness.store import Bundle

ORDER = ("received", "sharing", "bids", "unseen", "next")
"""The findings of the first screen, in their order; any other follows by name."""

LABELS = {
    "received": "Who received data",
    "sharing": "Who shares identifiers",
    "bids": "Did bids change",
    "unseen": "What was not seen",
    "next": "What to do next",
}
SECTIONS = {"received": "received", "sharing": "sharing", "bids": "bids", "unseen": "unseen", "next": "actions"}
_RESULT_ROWS = 20
_SOURCES = {"tests": "bids", "contacts": "flows", "identifiers": "cookies", "hosts": "contacts"}
"""Where the evidence of a table lies whose own rows name none."""


@dataclass(frozen=True)
class Result:
    """The first rows of a query; `error` says why there are none, `more` whether there are more."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    more: bool = False
    error: str = ""


@dataclass(frozen=True)
class Claim:
    """One finding with what it takes to check it."""

    name: str
    label: str
    section: str
    claim: str
    confidence: str
    gaps: tuple[str, ...]
    sql: str
    result: Result
    evidence: tuple[tuple[str, Result], ...]


def claims(bundle: Bundle) -> list[Claim]:
    """Every finding, in the order of the first screen."""
    rows = bundle.sql("select finding, claim, sql, confidence, gaps from findings order by all").to_pylist()
    rows.sort(key=lambda row: ORDER.index(row["finding"]) if row["finding"] in ORDER else len(ORDER))
    return [_claim(bundle, row) for row in rows]


def findings_json(bundle: Bundle) -> dict[str, Any]:
    """The findings as plain data that JSON can hold.

    Unbounded ends of intervals are the strings ``inf`` and ``-inf``; times are ISO 8601 in UTC.

    Returns:
        title, question, platform, world (null for a study of the real internet), simulated; findings (finding, claim,
        confidence, gaps, sql, rows: at most 20); tests and gaps (stage, reason, gaps, first_detail).
    """
    study = bundle.study
    tests = bundle.sql("select * exclude (step, attempt, evidence, locator) from tests order by all")
    gaps = bundle.sql(
        "select stage, reason, count(*) as gaps, min(detail) as first_detail from gaps group by all order by all"
    )
    return {
        "title": _plain(study.get("title")),
        "question": _plain(study.get("question")),
        "platform": _plain(study.get("platform")),
        "world": _plain(study.get("world")),
        "simulated": study.get("world") is not None,
        "findings": [
            {
                "finding": claim.name,
                "claim": claim.claim,
                "confidence": claim.confidence,
                "gaps": list(claim.gaps),
                "sql": claim.sql,
                "rows": [dict(zip(claim.result.columns, map(_plain, row), strict=True)) for row in claim.result.rows],
            }
            for claim in claims(bundle)
        ],
        "tests": [_plain(row) for row in tests.to_pylist()],
        "gaps": [_plain(row) for row in gaps.to_pylist()],
    }


def _claim(bundle: Bundle, row: Mapping[str, Any]) -> Claim:
    sql = row["sql"] or ""
    name = row["finding"] or "unnamed"
    return Claim(
        name=name,
        label=LABELS.get(name, name),
        section=SECTIONS.get(name, ""),
        claim=row["claim"] or "",
        confidence=row["confidence"] or "not stated",
        gaps=tuple(row["gaps"] or ()),
        sql=sql,
        result=_result(bundle, sql),
        evidence=_evidence(bundle, sql),
    )


def _result(bundle: Bundle, sql: str) -> Result:
    """What a finding's query gives; a query that fails is shown as failing, for the reader to see."""
    if not sql:
        return Result((), (), error="this finding names no query")
    try:
        table = bundle.sql(sql)
    except BadInput as error:
        return Result((), (), error=str(error))
    columns = [column.slice(0, _RESULT_ROWS).to_pylist() for column in table.columns]
    return Result(tuple(table.column_names), tuple(zip(*columns, strict=True)), table.num_rows > _RESULT_ROWS)


def _evidence(bundle: Bundle, sql: str) -> tuple[tuple[str, Result], ...]:
    """First rows of each table that a query reads; of its source where the table's own rows name no evidence."""
    found: dict[str, Result] = {}
    for word in re.findall(r"[a-z_]+", sql):
        name = word
        while name in TABLES and name not in found:
            rows = _first_rows(bundle, name)
            if rows.rows:
                found[name] = rows
                break
            name = _SOURCES.get(name, "")
    return tuple(found.items())


def _first_rows(bundle: Bundle, name: str) -> Result:
    shown = [c.name for c in TABLES[name].columns[:_COLUMNS]]
    quoted = ", ".join(f'"{column}"' for column in [*shown, "evidence", "locator"])
    rows = bundle.sql(
        f"select {quoted} from {name} where evidence is not null order by {quoted} limit {FIRST_ROWS}"  # noqa: S608
    )
    return Result((*shown, "evidence", "locator"), tuple(zip(*(c.to_pylist() for c in rows.columns), strict=True)))


_COLUMNS = 8
"""How many of a table's own columns are shown beside evidence and locator."""


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(part) for part in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)
