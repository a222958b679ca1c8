"""The primary statistic: how high a profile's bids rank among those of all profiles, in like places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from earwitness.stats.permutation import Floats

BEFORE, AFTER = "before", "after"

NO_BID = -np.inf
"""How "no bid" is ranked: below every price."""

SCORES = pa.schema(
    [
        ("profile", pa.string()),
        ("persona", pa.string()),
        ("before", pa.float64()),
        ("after", pa.float64()),
        ("score", pa.float64()),
    ]
)


class Stratum(NamedTuple):
    """Where opportunities are alike: compared only with one another."""

    phase: str
    site: str
    slot: str
    bidder: str
    iteration: int


Opportunities = Mapping[Stratum, Mapping[str, float]]
"""Stratum → profile → CPM in USD, `NO_BID` where the bidder declined. Time-outs are missing."""


def opportunities(bids: pa.Table, visits: pa.Table) -> Opportunities:
    """The opportunities of the phases before and after; strata and profiles in sorted order.

    Where a bidder answered several times (its auction was repeated), the best answer counts: the highest bid, else no
    bid. A bid without a price in USD is missing.
    """
    visit_of = {row["visit"]: row for row in visits.to_pylist() if row["phase"] in (BEFORE, AFTER)}
    best: dict[Stratum, dict[str, float]] = {}
    for row in bids.select(["visit", "slot", "bidder", "status", "cpm_usd"]).to_pylist():
        visit = visit_of.get(row["visit"])
        if visit is None or row["status"] not in ("bid", "no_bid"):
            continue
        value = row["cpm_usd"] if row["status"] == "bid" else NO_BID
        if value is None:
            continue
        stratum = Stratum(visit["phase"], visit["site"], row["slot"], row["bidder"], visit["iteration"])
        answers = best.setdefault(stratum, {})
        answers[visit["profile"]] = max(value, answers.get(visit["profile"], NO_BID))
    return {stratum: dict(sorted(best[stratum].items())) for stratum in sorted(best)}


def rank_scores(bids: pa.Table, visits: pa.Table, profiles: pa.Table) -> pa.Table:
    """One score per profile: mean rank of its opportunities after the treatment, less the same before it (METHOD.md).

    Each opportunity is ranked among all `profiles` that had it in its stratum (phase, site, slot, bidder, iteration),
    scaled to 0–1 (lowest to highest), ties at mid-rank, no bid lowest, time-outs missing; personas play no part. An
    opportunity that only one profile had says nothing and is left out. Ranks are averaged per profile and phase.

    Where no profile has a `before` phase the score is the `after` mean. Where others have one, a profile that lacks it
    has no score: its level is unknown. A profile without `after` has no score either.

    Returns:
        profile, persona, before, after, score (the last three null where missing); one row per profile, sorted.
    """
    ranks: dict[tuple[str, str], list[float]] = {}
    persona_of = dict(sorted(zip(profiles["profile"].to_pylist(), profiles["persona"].to_pylist(), strict=True)))
    for stratum, answers in opportunities(bids, visits).items():
        compared = {profile: value for profile, value in answers.items() if profile in persona_of}
        if len(compared) < 2:
            continue
        for profile, rank in zip(compared, _scaled_ranks(np.array(list(compared.values()))), strict=True):
            ranks.setdefault((profile, stratum.phase), []).append(float(rank))
    means = {key: float(np.mean(found)) for key, found in ranks.items()}
    design_has_before = any(phase == BEFORE for _, phase in means)
    rows: list[dict[str, Any]] = []
    for profile, persona in persona_of.items():
        before, after = means.get((profile, BEFORE)), means.get((profile, AFTER))
        score = after
        if after is not None and design_has_before:
            score = None if before is None else after - before
        rows.append({"profile": profile, "persona": persona, "before": before, "after": after, "score": score})
    return pa.Table.from_pylist(rows, schema=SCORES)


def _scaled_ranks(values: Floats) -> Floats:
    """Mid-ranks from 0 (lowest) to 1 (highest)."""
    _, place, ties = np.unique(values, return_inverse=True, return_counts=True)
    above = np.cumsum(ties)
    middle = above - (ties + 1) / 2
    scaled: Floats = middle[place] / (values.size - 1)
    return scaled
