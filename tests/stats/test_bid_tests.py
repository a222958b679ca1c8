import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from earwitness.model.tables import TABLES
from earwitness.stats import (
    BID_RATE_DIFFERENCE,
    CPM_RATIO,
    SCORE_RANK_BISERIAL,
    Hypothesis,
    bid_tests,
    mann_whitney_bids,
    permutation_test,
    rank_scores,
)
from tests.stats.auctions import study, tables

WINE = Hypothesis("wine raises bids", "interests", "wine", "control")


def by_estimand(rows):
    return {row["estimand"]: row for row in rows}


def test_four_rows_per_hypothesis_that_fit_the_table():
    data = study(np.random.default_rng(2), uplift=30, between=0.1, sites=10)
    rows = bid_tests(*data, [WINE])
    assert [row["unit"] for row in rows] == ["profile", "profile", "profile", "bid"]
    assert TABLES["tests"].arrow(rows).num_rows == 4
    assert len({(row["hypothesis"], row["unit"], row["method"]) for row in rows}) == 4
    primary = rows[0]
    assert (primary["units_treated"], primary["units_control"], primary["registered"]) == (3, 6, True)
    assert primary["p"] == primary["p_adjusted"] == primary["p_attainable"] == pytest.approx(1 / 84)
    assert primary["effect"] == 1.0
    assert primary["seed"] is None
    assert by_estimand(rows)[BID_RATE_DIFFERENCE]["outcome"] == "bid_rate"
    ratio = by_estimand(rows)[CPM_RATIO]
    assert ratio["ci_low"] < 30 < ratio["ci_high"]
    assert ratio["ci_low"] > 1


def test_the_primary_row_is_the_permutation_test_of_rank_scores():
    data = study(np.random.default_rng(4), uplift=1.5)
    found = rank_scores(*data).to_pylist()
    arms = [[row["score"] for row in found if row["persona"] == persona] for persona in ("wine", "control")]
    expected = permutation_test(*arms)
    primary = bid_tests(*data, [WINE])[0]
    assert (primary["p"], primary["statistic"]) == (expected.p, expected.statistic)


def test_the_wrong_unit_is_mann_whitney_on_bids_after():
    data = study(np.random.default_rng(3))
    bids, visits, _ = data
    phase = {row["visit"]: row for row in visits.to_pylist()}
    prices = {"w": [], "c": []}
    for row in bids.to_pylist():
        visit = phase[row["visit"]]
        if visit["phase"] == "after" and row["status"] == "bid":
            prices[visit["profile"][0]].append(row["cpm_usd"])
    theirs = stats.mannwhitneyu(prices["w"], prices["c"], alternative="greater", method="asymptotic")
    row = bid_tests(*data, [WINE])[3]
    assert row["p"] == pytest.approx(theirs.pvalue)
    assert (row["units_treated"], row["units_control"]) == (len(prices["w"]), len(prices["c"]))
    assert "wrong unit, as published" in row["method"]
    assert row["p_adjusted"] is row["p_attainable"] is None


def test_holm_runs_over_the_registered_hypotheses_of_a_family():
    arms = {name: [f"{name}{n}" for n in range(3)] for name in ("wine", "pets", "placebo", "late")}
    arms["control"] = [f"control{n}" for n in range(12)]
    random = np.random.default_rng(8)
    answers = {
        (p, "after", "s", slot, "ix", 1): float(np.exp(random.normal(3.0 * (persona == "wine"), 1)))
        for persona, found in arms.items()
        for p in found
        for slot in "abcdef"
    }
    hypotheses = [
        Hypothesis("h-wine", "interests", "wine", "control"),
        Hypothesis("h-pets", "interests", "pets", "control"),
        Hypothesis("h-placebo", "placebo", "placebo", "control"),
        Hypothesis("h-late", "interests", "late", "control", registered=False),
    ]
    rows = bid_tests(*tables(arms, answers), hypotheses)
    primary = {row["hypothesis"]: row for row in rows if row["estimand"] == SCORE_RANK_BISERIAL}
    assert primary["h-wine"]["p"] == pytest.approx(1 / 455)
    assert primary["h-wine"]["p_adjusted"] == pytest.approx(2 / 455)
    assert primary["h-pets"]["p_adjusted"] == max(primary["h-pets"]["p"], 2 / 455)
    assert primary["h-placebo"]["p_adjusted"] == primary["h-placebo"]["p"]
    assert primary["h-late"]["p_adjusted"] is None
    assert [row["hypothesis"] for row in rows[::4]] == ["h-late", "h-pets", "h-placebo", "h-wine"]


def test_what_was_not_collected_is_a_row_without_p_that_still_counts_in_its_family():
    data = study(np.random.default_rng(2), uplift=30, between=0.1, sites=10)
    rows = bid_tests(*data, [WINE, Hypothesis("x", "interests", "absent", "control")])
    primary = {row["hypothesis"]: row for row in rows if row["estimand"] == SCORE_RANK_BISERIAL}
    assert primary["x"]["p"] is primary["x"]["p_adjusted"] is primary["x"]["statistic"] is None
    assert (primary["x"]["units_treated"], primary["x"]["units_control"]) == (0, 6)
    assert primary[WINE.name]["p_adjusted"] == pytest.approx(2 / 84)


def test_empty_tables():
    rows = bid_tests(*tables({"wine": ["w1"], "control": ["c1"]}, {}), [WINE])
    assert [row["p"] for row in rows] == [None] * 4
    assert bid_tests(*tables({}, {}), []) == []
    assert mann_whitney_bids(*tables({}, {}), "wine", "control", "greater") is None


def test_other_outcomes_are_refused():
    with pytest.raises(ValueError, match="ad_count"):
        bid_tests(*tables({}, {}), [Hypothesis("h", "f", "a", "b", outcome="ad_count")])


def test_under_the_null_profiles_keep_their_level_and_bids_do_not():
    """Bids cluster by profile, and nothing has an effect: the right unit is right, the wrong unit is often wrong."""
    by_profile, by_bid = [], []
    for number in range(200):
        data = study(np.random.default_rng([17, number]), sites=5)
        rows = rank_scores(*data).to_pylist()
        arms = [[row["score"] for row in rows if row["persona"] == persona] for persona in ("wine", "control")]
        by_profile.append(permutation_test(*arms).p)
        by_bid.append(mann_whitney_bids(*data, "wine", "control", "greater").p)
    assert stats.kstest(by_profile, "uniform").pvalue > 0.01
    three_standard_errors = 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(np.array(by_profile) <= 0.05) <= 0.05 + three_standard_errors
    assert np.mean(np.array(by_bid) <= 0.05) > 0.05 + three_standard_errors


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random):
    data = study(np.random.default_rng(6), uplift=2, sites=2)
    expected = bid_tests(*data, [WINE])
    shuffled = [table.take(random.sample(range(table.num_rows), table.num_rows)) for table in data]
    assert bid_tests(*shuffled, [WINE]) == expected
