"""How large a difference is: effects within strata, with intervals by inverting the permutation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, floor, inf

import numpy as np

from earwitness.stats.permutation import TOLERANCE, Assignments, Floats, attainable_p
from earwitness.stats.ranks import AFTER, NO_BID, Opportunities

LEVEL = 0.95

# Beyond so many assignments an interval rests on random ones: at 2.5 % they give the tail to one in a thousand.
_LIMIT = _DRAWS = 20_000


@dataclass(frozen=True)
class Effect:
    """An effect with its interval; an end is infinite (for a ratio: 0 or infinite) where the design cannot bound it.

    `p` is two-sided, of the test that the interval inverts; `p_attainable` the least that it can be; `seed` is None
    where all assignments were enumerated.
    """

    estimate: float
    low: float
    high: float
    p: float
    p_attainable: float
    exact: bool
    seed: int | None


def cpm_ratio(
    opportunities: Opportunities, treated: Sequence[str], control: Sequence[str], seed: int = 0
) -> Effect | None:
    """Ratio of geometric-mean CPM, treated to control, in the phase after, over strata in which both arms bid.

    "Selected": only opportunities that drew a bid have a price, and the treatment may change which do. Each stratum's
    difference of mean log CPM weighs n₁n₂/(n₁+n₂). The interval is that of the shifts of log CPM, equal for all treated
    profiles, that the two-sided permutation test of profiles does not reject.

    Args:
        opportunities: as `ranks.opportunities` gives them.
        treated: profiles of the treated arm.
        control: profiles of the control arm.
        seed: of random assignments, where there are too many to enumerate.

    Returns:
        The effect; None where no stratum has a positive bid from both arms.
    """
    found = _shift(_matrix(opportunities, [*treated, *control], prices=True), len(treated), seed)
    if found is None:
        return None
    return Effect(
        **{
            **found.__dict__,
            "estimate": exp(found.estimate),
            "low": _exp(found.low),
            "high": _exp(found.high),
        }
    )


def bid_rate_difference(
    opportunities: Opportunities, treated: Sequence[str], control: Sequence[str], seed: int = 0
) -> Effect | None:
    """Difference of bid rates, treated less control, in the phase after, over strata that both arms had answered.

    Weights and interval as in `cpm_ratio`, time-outs left out.

    Returns:
        The effect, between -1 and 1 (its interval's ends cut there); None where no stratum has both arms.
    """
    found = _shift(_matrix(opportunities, [*treated, *control], prices=False), len(treated), seed)
    if found is None:
        return None
    low, high = (end if abs(end) == inf else min(1.0, max(-1.0, end)) for end in (found.low, found.high))
    return Effect(**{**found.__dict__, "low": low, "high": high})


def rank_biserial(treated: Sequence[float], control: Sequence[float]) -> float:
    """How much oftener a treated score lies above a control score than below: -1 to 1.

    Raises:
        ValueError: an arm is empty.
    """
    if not len(treated) or not len(control):
        raise ValueError("each arm needs at least one unit")
    pairs = np.sign(np.subtract.outer(np.asarray(treated, float), np.asarray(control, float)))
    return float(pairs.mean())


def _matrix(opportunities: Opportunities, profiles: Sequence[str], prices: bool) -> Floats:
    """Profiles × strata after the treatment: log CPM of bids, or whether there was a bid; NaN where missing."""
    strata = [answers for stratum, answers in opportunities.items() if stratum.phase == AFTER]
    values = np.full((len(profiles), len(strata)), np.nan)
    for column, answers in enumerate(strata):
        for line, profile in enumerate(profiles):
            value = answers.get(profile)
            if value is None:
                continue
            if not prices:
                values[line, column] = float(value != NO_BID)
            elif value > 0:
                values[line, column] = np.log(value)
    return values


def _shift(values: Floats, treated: int, seed: int) -> Effect | None:
    """The shift between the first `treated` rows of `values` and the others, with its interval.

    The contrast of an assignment p is linear in the values, so after taking a shift d from the treated rows it is
    a(p) - d b(p), where b is the contrast of the treatment itself. As b(p) < 1 = b(actual), assignment p is as large as
    the actual one exactly where d ≥ c(p) = (a(actual) - a(p)) / (1 - b(p)). The ends of the interval are therefore
    order statistics of c: no search, no grid.
    """
    units = values.shape[0]
    if treated == 0 or treated == units:
        return None
    actual = np.zeros((1, units))
    actual[0, :treated] = 1.0
    treatment = np.where(np.isnan(values), np.nan, actual[0][:, None])
    estimate = float(_contrast(actual, values)[0])
    if np.isnan(estimate):
        return None
    ways = Assignments(units, treated, seed, _DRAWS, limit=_LIMIT)
    turning: list[Floats] = []
    for rows in ways.chunks(columns=8 * values.shape[1]):
        of_values, of_treatment = _contrast(rows, values), _contrast(rows, treatment)
        differs = of_treatment < 1 - TOLERANCE
        turning.append((estimate - of_values[differs]) / (1 - of_treatment[differs]))
    c = np.sort(np.concatenate(turning))
    total = ways.counted
    # Assignments that no shift tells from the actual one (itself among them) are always as extreme.
    always = total - c.size
    slack = TOLERANCE * max(1.0, abs(estimate))
    larger, smaller = always + int((c <= slack).sum()), always + int((c >= -slack).sum())
    spare = floor((1 - LEVEL) / 2 * total + TOLERANCE) - always
    return Effect(
        estimate=estimate,
        low=float(c[spare]) if 0 <= spare < c.size else -inf,
        high=float(c[-1 - spare]) if 0 <= spare < c.size else inf,
        p=min(1.0, 2 * min(larger, smaller) / total),
        p_attainable=max(min(1.0, 2 * attainable_p(treated, units - treated)), 0 if ways.exact else 2 / total),
        exact=ways.exact,
        seed=None if ways.exact else seed,
    )


def _contrast(assignments: Floats, values: Floats) -> Floats:
    """For each assignment the weighted mean difference of arms within strata; NaN where no stratum has both."""
    present = ~np.isnan(values)
    known = np.where(present, values, 0.0)
    count_first = assignments @ present
    sum_first = assignments @ known
    count_second = present.sum(axis=0) - count_first
    sum_second = known.sum(axis=0) - sum_first
    both = (count_first > 0) & (count_second > 0)
    # n₁n₂/(n₁+n₂) · (s₁/n₁ - s₂/n₂) without the divisions by zero.
    whole = np.maximum(count_first + count_second, 1.0)
    difference = np.where(both, (sum_first * count_second - sum_second * count_first) / whole, 0.0)
    weight = np.where(both, count_first * count_second / whole, 0.0).sum(axis=1)
    contrast: Floats = np.where(weight > 0, difference.sum(axis=1) / np.where(weight > 0, weight, 1.0), np.nan)
    return contrast


def _exp(value: float) -> float:
    try:
        return exp(value)
    except OverflowError:
        return inf
