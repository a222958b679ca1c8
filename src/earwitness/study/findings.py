"""Findings: five plain sentences, each with the query behind its numbers, how sure it is, and what limits it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

from earwitness.detect import reach_query
from earwitness.stats import CPM_RATIO, SCORE_RANK_BISERIAL
from earwitness.store import Bundle
from earwitness.study.config import StudyFile

_NAMED = 4
_ALPHA = 0.05
_GAPS = {
    "no_name": "speakers with conversations that nothing names",
    "interrupted": "attempts that ended early and were repeated",
    "failed": "attempts that failed",
    "truncated": "captures that are cut off",
    "timeout": "pages that did not come to rest",
    "no_baseline": "skills without enough idle time to compare with",
    "list_missing": "public lists that are not installed",
}


def findings(bundle: Bundle, study: StudyFile) -> list[dict[str, Any]]:
    """The five sentences as rows of `findings`: received, sharing, bids, unseen, next."""
    platform = study.platform.organisation
    received = _received(bundle, platform)
    sharing = _sharing(bundle, platform)
    bids = _bids(bundle, study)
    unseen = _unseen(bundle)
    return [received, sharing, bids, unseen, _next(bundle, bids)]


def _received(bundle: Bundle, platform: str) -> dict[str, Any]:
    sql = (
        "select h.organisation, bool_or(h.purpose = 'advertising_tracking') as tracks,"
        " bool_or(c.party = 'platform') as platform, count(distinct c.profile) as speakers,"
        " (select count(distinct profile) from contacts where party <> 'platform') as speakers_beyond,"
        " (select count(distinct profile) from contacts) as speakers_in_all, sum(c.bytes_up) as bytes_up"
        " from contacts c join hosts h using (host) group by 1 order by platform desc, tracks desc, 1"
    )
    rows = bundle.sql(sql).to_pylist()
    if not rows:
        claim = "No traffic of a speaker was captured, so nothing can be said of who received data."
        return _finding("received", claim, sql, "not measured", ["no capture"])
    others = [r["organisation"] for r in rows if not r["platform"]]
    trackers = [r["organisation"] for r in rows if not r["platform"] and r["tracks"]]
    every = rows[0]["speakers_in_all"]
    parts = [f"{_of(r['speakers'], every, 'speaker')} sent data to {r['organisation']}" for r in rows if r["platform"]]
    if others:
        parts.append(
            f"{_of(rows[0]['speakers_beyond'], every, 'speaker')} sent data to"
            f" {_count(len(others), 'other organisation')}, {_share(len(trackers), len(others))} in advertising or"
            f" tracking: {_names(others)}"
        )
    claim = ". ".join(parts) + "."
    unnamed = bundle.sql("select count(*) as n from flows where host is null and server_port <> 53")["n"][0].as_py()
    return _finding(
        "received",
        claim,
        sql,
        "seen in the packets; the names come from TLS, HTTP and DNS",
        [f"{_count(unnamed, 'flow')} without a name"] if unnamed else [],
    )


def _sharing(bundle: Bundle, platform: str) -> dict[str, Any]:
    sql = textwrap.dedent(reach_query(platform)).strip()
    rows = bundle.sql(sql).to_pylist()
    partners = [r["organisation"] for r in rows if r["role"] == "partner"]
    downstream = [r["organisation"] for r in rows if r["role"] == "downstream"]
    if not bundle.sql("select count(*) as n from visits")["n"][0].as_py():
        return _finding("sharing", "No page was visited, so sharing was not measured.", sql, "not measured", [])
    if not partners:
        claim = f"No organisation was seen to pass its identifier for a person to {platform}."
    else:
        whose = "its" if len(partners) == 1 else "their"
        claim = f"{_count(len(partners), 'organisation')} passed {whose} identifier for a person to {platform}"
        claim += f": {_names(partners)}."
        if downstream:
            claim += f" From them identifiers went on to {_count(len(downstream), 'further organisation')}"
            claim += f": {_names(downstream)}."
    limits = ["only identifiers that travelled through the browser can be seen"]
    return _finding("sharing", claim, sql, "each passing on is a recorded request; a floor, not a total", limits)


def _bids(bundle: Bundle, study: StudyFile) -> dict[str, Any]:
    sql = (
        "select hypothesis, persona, control, outcome, estimand, unit, units_treated, units_control, method, effect,"
        " ci_low, ci_high, p, p_attainable, p_adjusted, registered from tests where unit = 'profile'"
        " order by hypothesis, estimand"
    )
    rows = bundle.sql(sql).to_pylist()
    ratios = {r["hypothesis"]: r for r in rows if r["estimand"] == CPM_RATIO}
    placebos = {p.name for p in study.personas if p.role == "placebo"}
    tested = [r for r in rows if r["estimand"] == SCORE_RANK_BISERIAL and r["p"] is not None]
    made = [r for r in tested if r["persona"] not in placebos]
    if not made:
        return _finding("bids", "Bids could not be compared.", sql, "not measured", ["too few bids in one arm"])
    sentences = []
    for test in made:
        arms = f"“{test['persona']}” over “{test['control']}”"
        ratio = ratios.get(test["hypothesis"])
        if not test["registered"]:
            sentences.append(f"bids for {arms} were explored only")
        elif test["p_adjusted"] <= _ALPHA:
            sentences.append(f"bids rose for {arms}{_size(ratio)}")
        else:
            sentences.append(f"no rise of bids was shown for {arms}{_bound(ratio)}")
    claim = "; ".join(sentences)
    best = min(made, key=lambda r: (not r["registered"], r["p"]))
    size = f"{best['units_treated']} against {best['units_control']} profiles, which cannot give less than"
    size += f" {_p(best['p_attainable'])}"
    if best["registered"]:
        confidence = f"p = {_p(best['p_adjusted'])} after correction, from {size}"
    else:
        confidence = f"exploratory: p = {_p(best['p'])} without correction, from {size}"
    for placebo in (r for r in tested if r["persona"] in placebos):
        confidence += f"; the placebo's p is {_p(placebo['p'])}"
    limits = [] if all(t["registered"] for t in made) else ["not confirmatory: too few profiles for its family"]
    return _finding("bids", f"{claim[0].upper()}{claim[1:]}.", sql, confidence, limits)


def _unseen(bundle: Bundle) -> dict[str, Any]:
    sql = "select stage, reason, count(*) as n, min(detail) as example from gaps group by 1, 2 order by n desc, 1, 2"
    rows = bundle.sql(sql).to_pylist()
    visits = bundle.sql("select count(*) as n, count(*) filter (status <> 'done') as bad from visits").to_pylist()[0]
    claim = f"{visits['n'] - visits['bad']} of {_count(visits['n'], 'page visit')} gave all they had"
    if rows:
        told = "; ".join(f"{_GAPS.get(r['reason'], r['reason'].replace('_', ' '))} ({r['n']} ×)" for r in rows[:_NAMED])
        claim += f". Not seen, and written down: {told}"
    else:
        claim += ". No gap was noticed"
    claim += ". What companies exchange between their own servers cannot be seen from outside."
    limits = ["of requests that a page sends while it is being left, only those are seen that the browser reports"]
    return _finding("unseen", claim, sql, "complete for what was noticed; see the gaps", limits)


def _next(bundle: Bundle, bids: dict[str, Any]) -> dict[str, Any]:
    sql = (
        "select distinct c.host, h.organisation, h.source from contacts c join hosts h using (host)"
        " where h.purpose = 'advertising_tracking' and c.party <> 'platform' order by 1"
    )
    hosts = bundle.sql(sql)["host"].to_pylist()
    steps = []
    if hosts:
        steps.append(f"block {_count(len(hosts), 'tracking host')} at the router ({_names(hosts)})")
    steps.append("ask the platform for your advertising data and switch off interest-based ads")
    if "rose" not in bids["claim"]:
        steps.append("repeat with more profiles per persona before drawing conclusions on bids")
    claim = "Next: " + "; ".join(steps) + "; then measure again."
    return _finding("next", claim, sql, "advice; whether it works is for the next measurement to say", [])


def _finding(name: str, claim: str, sql: str, confidence: str, gaps: Sequence[str]) -> dict[str, Any]:
    return {"finding": name, "claim": claim, "sql": sql, "confidence": confidence, "gaps": list(gaps)}


def _of(some: int, every: int, noun: str) -> str:
    return f"All {_count(some, noun)}" if some == every else f"{some} of {_count(every, noun)}"


def _share(some: int, every: int) -> str:
    return {0: "none of them known to be", every: "all of them"}.get(some, f"{some} of them")


def _size(ratio: dict[str, Any] | None) -> str:
    """How large an effect that was shown is."""
    if ratio is None or ratio["effect"] is None:
        return ""
    interval = f"{_times(ratio['ci_low'])} to {_times(ratio['ci_high'])}"
    return (
        f": afterwards they were {_times(ratio['effect'])} times as high where both got bids (95 % interval {interval})"
    )


def _bound(ratio: dict[str, Any] | None) -> str:
    """What is excluded where no effect was shown: a null is a bound."""
    if ratio is None or ratio["ci_high"] is None or math.isinf(ratio["ci_high"]):
        return ", and no size of it can be excluded"
    return f"; more than {_times(ratio['ci_high'])} times as high is excluded (95 %)"


def _times(value: float) -> str:
    return "no limit" if math.isinf(value) else f"{value:.1f}"


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _p(value: float) -> str:
    return f"{value:.3f}".lstrip("0") if value >= 0.001 else "< .001"
