from math import comb, exp, inf, log

import numpy as np
import pytest

from earwitness.stats import bid_rate_difference, cpm_ratio, permutation_test, rank_biserial
from earwitness.stats.ranks import opportunities
from tests.stats.auctions import study, tables


def world(prices, arms):
    """Opportunities of one site, one stratum per position in each profile's list of prices."""
    answers = {(p, "after", "s", f"slot{n}", "ix", 1): v for p, found in prices.items() for n, v in enumerate(found)}
    bids, visits, _ = tables(arms, answers)
    return opportunities(bids, visits)


TWO = {"wine": ["w1", "w2"], "control": ["c1", "c2"]}


def test_the_ratio_by_hand():
    prices = {"w1": [2.0, 8.0], "w2": [2.0, None], "c1": [1.0, 4.0], "c2": [1.0, 4.0]}
    effect = cpm_ratio(world(prices, TWO), TWO["wine"], TWO["control"])
    assert effect.estimate == pytest.approx(2.0)


def test_strata_weigh_by_their_pairs_and_only_where_both_bid():
    # Slot 0: ratio 4, two against two, weight 1. Slot 1: ratio 1, one against one, weight 1/2. Slot 2: one arm only.
    prices = {"w1": [4.0, 3.0, 9.0], "w2": [4.0, None, None], "c1": [1.0, 3.0, None], "c2": [1.0, "timeout", None]}
    effect = cpm_ratio(world(prices, TWO), TWO["wine"], TWO["control"])
    assert effect.estimate == pytest.approx(exp(log(4) * 1 / 1.5))


def test_an_interval_that_the_design_cannot_bound():
    # Two against two have six assignments: none of them is rarer than one in forty.
    prices = {"w1": [2.0], "w2": [2.2], "c1": [1.0], "c2": [1.1]}
    effect = cpm_ratio(world(prices, TWO), TWO["wine"], TWO["control"])
    assert (effect.low, effect.high) == (0.0, inf)
    assert effect.p_attainable == pytest.approx(2 / 6)
    rate = bid_rate_difference(world(prices, TWO), TWO["wine"], TWO["control"])
    assert (rate.estimate, rate.low, rate.high) == (0.0, -inf, inf)


@pytest.mark.parametrize(("treated", "control"), [(3, 6), (4, 5), (2, 12)])
def test_the_interval_holds_exactly_the_shifts_that_the_test_does_not_reject(treated, control):
    random = np.random.default_rng(11)
    arms = {"wine": [f"w{n}" for n in range(treated)], "control": [f"c{n}" for n in range(control)]}
    logs = {profile: random.normal(0.5 * (persona == "wine"), 0.6) for persona in arms for profile in arms[persona]}
    prices = {profile: [exp(value)] for profile, value in logs.items()}
    effect = cpm_ratio(world(prices, arms), arms["wine"], arms["control"])
    first, second = (np.array([logs[p] for p in arms[persona]]) for persona in ("wine", "control"))
    assert log(effect.estimate) == pytest.approx(first.mean() - second.mean())

    def rejected(shift):
        tails = [permutation_test(first - shift, second, side).p for side in ("greater", "less")]
        return min(tails) <= 0.025

    assert rejected(0) == (effect.p <= 0.05)
    for end, outward in ((log(effect.low), -1e-6), (log(effect.high), 1e-6)):
        assert not rejected(end - outward)
        assert rejected(end + outward)


def test_the_p_is_two_sided_by_doubling():
    arms = {"wine": ["w1", "w2", "w3"], "control": [f"c{n}" for n in range(6)]}
    prices = {**{p: [9.0 + i] for i, p in enumerate(arms["wine"])}, **{p: [1.0] for p in arms["control"]}}
    effect = cpm_ratio(world(prices, arms), arms["wine"], arms["control"])
    assert effect.p == pytest.approx(2 / comb(9, 3))
    assert effect.low > 1


def test_bid_rates_by_hand():
    prices = {"w1": [1.0, 1.0], "w2": [1.0, None], "c1": [None, None], "c2": [1.0, "timeout"]}
    effect = bid_rate_difference(world(prices, TWO), TWO["wine"], TWO["control"])
    # Slot 0: 1 against 1/2, weight 1. Slot 1: 1/2 against 0, weight 2/3.
    assert effect.estimate == pytest.approx((1 * 0.5 + 2 / 3 * 0.5) / (1 + 2 / 3))


def test_no_common_ground_no_effect():
    prices = {"w1": [1.0, None], "w2": [None, None], "c1": [None, 1.0], "c2": [None, "timeout"]}
    assert cpm_ratio(world(prices, TWO), TWO["wine"], TWO["control"]) is None
    assert cpm_ratio({}, [], []) is None
    assert bid_rate_difference({}, ["w1"], ["c1"]) is None


def test_many_assignments_are_drawn():
    arms = {"wine": [f"w{n}" for n in range(9)], "control": [f"c{n}" for n in range(10)]}
    random = np.random.default_rng(5)
    prices = {p: [exp(random.normal(persona == "wine", 0.5))] for persona in arms for p in arms[persona]}
    one, again = (cpm_ratio(world(prices, arms), arms["wine"], arms["control"], seed=3) for _ in range(2))
    assert one == again
    assert (one.exact, one.seed) == (False, 3)
    # By Student's t the interval of the log ratio has about this width.
    first, second = ([log(prices[p][0]) for p in arms[persona]] for persona in ("wine", "control"))
    half = 2.11 * np.sqrt(np.var(first, ddof=1) / 9 + np.var(second, ddof=1) / 10)
    assert log(one.high) - log(one.low) == pytest.approx(2 * half, rel=0.1)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered = []
    for number in range(120):
        random = np.random.default_rng([3, number])
        bids, visits, _ = study(random, uplift=3.0, sites=2)
        treated, control = [f"w{n}" for n in range(3)], [f"c{n}" for n in range(6)]
        effect = cpm_ratio(opportunities(bids, visits), treated, control)
        covered.append(effect.low <= 3.0 <= effect.high)
    assert np.mean(covered) >= 0.9  # 95 % less three standard errors is 89 %


def test_rank_biserial():
    assert rank_biserial([3, 4], [1, 2]) == 1.0
    assert rank_biserial([1, 2], [3, 4]) == -1.0
    assert rank_biserial([1, 3], [2, 2]) == 0.0
    assert rank_biserial([1], [1]) == 0.0
    with pytest.raises(ValueError):
        rank_biserial([], [1])
