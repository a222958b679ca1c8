"""Hypotheses on bids, tested with the profile as the unit, and once as published, with the wrong one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from earwitness.stats.effects import Effect, bid_rate_difference, cpm_ratio, rank_biserial
from earwitness.stats.multiplicity import holm
from earwitness.stats.permutation import DRAWS, Alternative, attainable_p, permutation_test
from earwitness.stats.ranks import AFTER, Opportunities, opportunities, rank_scores

SCORE_RANK_BISERIAL = "rank-biserial correlation of profile scores"
CPM_RATIO = "ratio of geometric-mean CPM where both bid (selected)"
BID_RATE_DIFFERENCE = "difference of bid rates"
BID_RANK_BISERIAL = "rank-biserial correlation of single bids"

WRONG_UNIT = "Mann-Whitney on single bids (wrong unit, as published)"


@dataclass(frozen=True)
class Hypothesis:
    """One comparison of two personas.

    `family` is what multiplicity is corrected over. `registered` hypotheses are confirmatory: frozen before collection,
    in a design that can reach Holm's first step. Others are tested and never adjusted. Placebo and web personas belong
    in a family of their own.
    """

    name: str
    family: str
    persona: str
    control: str
    outcome: Literal["bid_cpm"] = "bid_cpm"
    alternative: Literal["greater", "two-sided"] = "greater"
    registered: bool = True


@dataclass(frozen=True)
class MannWhitney:
    """A Mann-Whitney test on single bids; `effect` is the rank-biserial correlation."""

    p: float
    statistic: float
    bids_treated: int
    bids_control: int
    effect: float


def bid_tests(
    bids: pa.Table, visits: pa.Table, profiles: pa.Table, hypotheses: Sequence[Hypothesis], seed: int = 0
) -> list[dict[str, Any]]:
    """Rows of the table `tests`: four per hypothesis, sorted by hypothesis, in this order.

    1. unit profile, `SCORE_RANK_BISERIAL`: the primary test (`rank_scores`, `permutation_test`), p by the hypothesis'
       alternative, adjusted by Holm over the registered hypotheses of the family; `statistic` is the difference of mean
       scores.
    2. unit profile, `CPM_RATIO`: effect with interval, after the treatment only. Its p is two-sided.
    3. unit profile, `BID_RATE_DIFFERENCE`: the same for the bid rate (outcome ``bid_rate``).
    4. unit bid, `BID_RANK_BISERIAL`: Mann-Whitney on single bids, as published, to show what the wrong unit does.

    A test that cannot be made (an arm without scores, no bid from both arms) is a row without statistic, effect and p;
    a registered one then counts in its family with p = 1.

    Args:
        bids: table `bids`.
        visits: table `visits`.
        profiles: table `profiles`; all of them are ranked together.
        hypotheses: what to test.
        seed: of random assignments, where there are too many to enumerate.

    Raises:
        ValueError: a hypothesis is about another outcome than ``bid_cpm``.
    """
    scores = rank_scores(bids, visits, profiles)
    answers = opportunities(bids, visits)
    asked = sorted(hypotheses, key=lambda hypothesis: hypothesis.name)
    rows: list[dict[str, Any]] = []
    for hypothesis in asked:
        if hypothesis.outcome != "bid_cpm":
            raise ValueError(f"no test for outcome {hypothesis.outcome!r}")
        rows.append(_primary(hypothesis, scores, seed))
        rows.extend(_effects(hypothesis, answers, profiles, seed))
        rows.append(_as_published(hypothesis, bids, visits, profiles))
    for family in sorted({hypothesis.family for hypothesis in asked}):
        members = [
            row
            for row in rows
            if row["family"] == family and row["registered"] and row["estimand"] == SCORE_RANK_BISERIAL
        ]
        adjusted = holm([1.0 if row["p"] is None else row["p"] for row in members])
        for row, p in zip(members, adjusted, strict=True):
            row["p_adjusted"] = None if row["p"] is None else p
    return rows


def mann_whitney_bids(
    bids: pa.Table, visits: pa.Table, profiles: pa.Table, persona: str, control: str, alternative: Alternative
) -> MannWhitney | None:
    """Mann-Whitney on all single bids after the treatment, as the original study did it.

    The unit is wrong: bids of one profile are not independent, so p is too small. For comparison only.

    Returns:
        The test, its p by the normal approximation with correction for ties; None where an arm has no bid.
    """
    persona_of = dict(zip(profiles["profile"].to_pylist(), profiles["persona"].to_pylist(), strict=True))
    arm_of = {row["visit"]: persona_of.get(row["profile"]) for row in visits.to_pylist() if row["phase"] == AFTER}
    prices: dict[str, list[float]] = {persona: [], control: []}
    for row in bids.select(["visit", "status", "cpm_usd"]).to_pylist():
        arm = arm_of.get(row["visit"])
        if row["status"] == "bid" and row["cpm_usd"] is not None and arm in prices:
            prices[arm].append(row["cpm_usd"])
    first, second = sorted(prices[persona]), sorted(prices[control])
    if not first or not second:
        return None
    # Imported late: scipy.stats takes a second.
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(first, second, alternative=alternative, method="asymptotic")
    statistic = float(found.statistic)
    effect = 2 * statistic / (len(first) * len(second)) - 1
    return MannWhitney(float(found.pvalue), statistic, len(first), len(second), effect)


def _row(hypothesis: Hypothesis, estimand: str, unit: str, method: str) -> dict[str, Any]:
    return {
        "hypothesis": hypothesis.name,
        "family": hypothesis.family,
        "persona": hypothesis.persona,
        "control": hypothesis.control,
        "outcome": hypothesis.outcome,
        "estimand": estimand,
        "unit": unit,
        "method": method,
        "statistic": None,
        "effect": None,
        "ci_low": None,
        "ci_high": None,
        "p": None,
        "p_attainable": None,
        "p_adjusted": None,
        "registered": hypothesis.registered,
        "seed": None,
    }


def _primary(hypothesis: Hypothesis, scores: pa.Table, seed: int) -> dict[str, Any]:
    arms: dict[str, list[float]] = {hypothesis.persona: [], hypothesis.control: []}
    for row in scores.to_pylist():
        if row["persona"] in arms and row["score"] is not None:
            arms[row["persona"]].append(row["score"])
    treated, control = arms[hypothesis.persona], arms[hypothesis.control]
    row = _row(hypothesis, SCORE_RANK_BISERIAL, "profile", "permutation of profiles, ranks within strata")
    row |= {"units_treated": len(treated), "units_control": len(control)}
    if not treated or not control:
        return row
    test = permutation_test(treated, control, hypothesis.alternative, seed)
    least = attainable_p(len(treated), len(control), hypothesis.alternative)
    return row | {
        "method": f"{row['method']}, {'exact' if test.exact else f'{DRAWS} draws'}",
        "statistic": test.statistic,
        "effect": rank_biserial(treated, control),
        "p": test.p,
        "p_attainable": least if test.exact else max(least, 1 / test.assignments),
        "seed": test.seed,
    }


def _effects(hypothesis: Hypothesis, answers: Opportunities, profiles: pa.Table, seed: int) -> Iterator[dict[str, Any]]:
    answered = {profile for stratum, found in answers.items() if stratum.phase == AFTER for profile in found}
    arms: dict[str, list[str]] = {hypothesis.persona: [], hypothesis.control: []}
    for row in profiles.to_pylist():
        if row["persona"] in arms and row["profile"] in answered:
            arms[row["persona"]].append(row["profile"])
    treated, control = sorted(arms[hypothesis.persona]), sorted(arms[hypothesis.control])
    units = {"units_treated": len(treated), "units_control": len(control)}
    ratio = cpm_ratio(answers, treated, control, seed)
    rate = bid_rate_difference(answers, treated, control, seed)
    method = "inverted permutation of profiles"
    yield _row(hypothesis, CPM_RATIO, "profile", f"{method}, log CPM within strata") | units | _measured(ratio)
    row = _row(hypothesis, BID_RATE_DIFFERENCE, "profile", f"{method}, bids within strata")
    yield row | units | {"outcome": "bid_rate"} | _measured(rate)


def _measured(effect: Effect | None) -> dict[str, Any]:
    if effect is None:
        return {}
    return {
        "statistic": effect.estimate,
        "effect": effect.estimate,
        "ci_low": effect.low,
        "ci_high": effect.high,
        "p": effect.p,
        "p_attainable": effect.p_attainable,
        "seed": effect.seed,
    }


def _as_published(hypothesis: Hypothesis, bids: pa.Table, visits: pa.Table, profiles: pa.Table) -> dict[str, Any]:
    row = _row(hypothesis, BID_RANK_BISERIAL, "bid", WRONG_UNIT)
    test = mann_whitney_bids(bids, visits, profiles, hypothesis.persona, hypothesis.control, hypothesis.alternative)
    if test is None:
        return row | {"units_treated": 0, "units_control": 0}
    return row | {
        "units_treated": test.bids_treated,
        "units_control": test.bids_control,
        "statistic": test.statistic,
        "effect": test.effect,
        "p": test.p,
    }
