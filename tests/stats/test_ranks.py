import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.stats import rank_scores
from earwitness.stats.ranks import NO_BID, opportunities
from tests.stats.auctions import tables

ARMS = {"wine": ["w1"], "control": ["c1", "c2", "c3", "c4"]}


def scores(answers, arms=ARMS, **more):
    return {row["profile"]: row for row in rank_scores(*tables(arms, answers, **more)).to_pylist()}


def after(profile, answer, slot="top", site="s1", phase="after", iteration=1):
    return {(profile, phase, site, slot, "openx", iteration): answer}


def test_mid_ranks_by_hand():
    # One auction: .5 and .5 tie in the middle, 2.0 is highest, two do not bid and share the lowest ranks.
    answers = after("w1", 2.0) | after("c1", 0.5) | after("c2", 0.5) | after("c3", None) | after("c4", None)
    found = scores(answers)
    # Ranks 5, 3.5, 3.5, 1.5, 1.5 of 5, scaled so that 1 is 0 and 5 is 1.
    assert [found[p]["after"] for p in ("w1", "c1", "c2", "c3", "c4")] == [1.0, 0.625, 0.625, 0.125, 0.125]
    assert found["w1"]["score"] == 1.0
    assert found["w1"]["before"] is None


def test_a_timeout_is_missing_not_low():
    answers = after("w1", 2.0) | after("c1", 1.0) | after("c2", "timeout")
    found = scores(answers)
    assert (found["w1"]["after"], found["c1"]["after"], found["c2"]["after"]) == (1.0, 0.0, None)


def test_strata_are_compared_only_within_themselves():
    # The bottom slot is worth a hundredth; ranks know nothing of that.
    answers = after("w1", 2.0) | after("c1", 1.0)
    answers |= after("w1", 0.01, slot="bottom") | after("c1", 0.02, slot="bottom")
    found = scores(answers)
    assert found["w1"]["after"] == found["c1"]["after"] == 0.5


def test_iterations_are_strata_of_their_own():
    answers = after("w1", 2.0) | after("c1", 1.0)
    answers |= after("w1", 5.0, iteration=2) | after("c1", 50.0, iteration=2)
    assert scores(answers)["w1"]["after"] == 0.5


def test_an_opportunity_that_only_one_profile_had_says_nothing():
    found = scores(after("w1", 2.0) | after("c1", 1.0) | after("w1", 9.0, site="s2"))
    assert found["w1"]["after"] == 1.0
    assert scores(after("w1", 9.0))["w1"]["after"] is None


def test_the_phase_before_is_subtracted():
    answers = after("w1", 2.0) | after("c1", 1.0) | after("c2", None)
    answers |= after("w1", 3.0, phase="before") | after("c1", 4.0, phase="before") | after("c2", None, phase="before")
    found = scores(answers)
    assert (found["w1"]["before"], found["w1"]["score"]) == (0.5, 0.5)
    assert (found["c1"]["before"], found["c1"]["score"]) == (1.0, -0.5)


def test_a_profile_that_lacks_a_phase_has_no_score():
    answers = after("w1", 2.0) | after("c1", 1.0) | after("c2", 0.5)
    answers |= after("w1", 3.0, phase="before") | after("c1", 4.0, phase="before") | after("c3", 1.0, phase="before")
    found = scores(answers)
    assert found["c2"]["after"] == 0.0
    assert found["c2"]["score"] is None  # its level before is unknown
    assert found["c3"]["score"] is None  # it was never seen after
    assert found["c4"]["score"] is None  # it was never seen at all
    assert found["w1"]["score"] is not None


def test_other_phases_play_no_part():
    answers = after("w1", 2.0) | after("c1", 1.0) | after("c1", 99.0, phase="after_remedy")
    assert scores(answers)["w1"]["score"] == 1.0


def test_profiles_that_are_not_compared_are_not_ranked():
    answers = after("w1", 2.0) | after("c1", 1.0) | after("stranger", 3.0)
    found = scores(answers)
    assert found["w1"]["after"] == 1.0
    assert "stranger" not in found


def test_the_best_of_repeated_answers_counts():
    bids, visits, _ = tables(ARMS, after("w1", None) | after("c1", "timeout"))
    again, _, _ = tables(ARMS, after("w1", 0.7) | after("c1", None))
    (answers,) = opportunities(_both(bids, again), visits).values()
    assert answers == {"w1": 0.7, "c1": NO_BID}


def test_a_bid_without_a_price_in_dollars_is_missing():
    bids, visits, _ = tables(ARMS, after("w1", 1.0) | after("c1", 2.0))
    column = bids.schema.get_field_index("cpm_usd")
    unpriced = bids.set_column(column, bids.schema.field(column), [[None, 2.0]])
    (answers,) = opportunities(unpriced, visits).values()
    assert answers == {"c1": 2.0}


def test_nothing_in_nothing_out():
    table = rank_scores(*tables({}, {}))
    assert table.num_rows == 0
    assert rank_scores(*tables(ARMS, {}))["score"].null_count == 5


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_order_of_rows_does_not_matter_nor_do_labels(data):
    prices = st.one_of(st.none(), st.just("timeout"), st.sampled_from([0.1, 0.5, 0.5, 2.0]))
    answers = {
        (profile, phase, site, "top", "openx", 1): data.draw(prices)
        for profile in ("w1", "c1", "c2", "c3")
        for phase in ("before", "after")
        for site in ("s1", "s2")
    }
    random = data.draw(st.randoms(use_true_random=False))
    expected = rank_scores(*tables(ARMS, answers))
    shuffled = rank_scores(*tables(ARMS, answers, order=lambda rows: random.sample(rows, len(rows))))
    assert shuffled.equals(expected)
    relabelled = {"wine": ["c1", "c4"], "control": ["w1", "c2", "c3"]}
    other = rank_scores(*tables(relabelled, answers))
    assert other["score"].to_pylist() == pytest.approx(expected["score"].to_pylist(), nan_ok=True)


def _both(first, second):
    import pyarrow as pa

    return pa.concat_tables([first, second])
