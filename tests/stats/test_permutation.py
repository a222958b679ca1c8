import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from earwitness.stats import attainable_p, holm, permutation_test


def mean_difference(x, y, axis):
    return np.mean(x, axis=axis) - np.mean(y, axis=axis)


@pytest.mark.parametrize(
    ("treated", "control", "alternative", "p"),
    [
        (3, 6, "greater", 1 / 84),
        (3, 12, "greater", 1 / 455),
        (2, 2, "greater", 1 / 6),
        (2, 2, "two-sided", 2 / 6),
        (3, 6, "two-sided", 1 / 84),
        (1, 1, "greater", 1 / 2),
    ],
)
def test_the_attainable_p_is_attained(treated, control, alternative, p):
    assert attainable_p(treated, control, alternative) == pytest.approx(p)
    # The clearest data there can be: every treated score above every control score, and far from them.
    test = permutation_test([100.0 + n for n in range(treated)], [n / 10 for n in range(control)], alternative)
    assert test.p == pytest.approx(p)
    assert test.exact
    assert test.seed is None
    assert (test.units_treated, test.units_control) == (treated, control)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("sizes", [(3, 6), (4, 4), (2, 7)])
def test_it_agrees_with_scipy(alternative, sizes):
    random = np.random.default_rng(7)
    treated, control = random.normal(0.4, 1, sizes[0]), random.normal(0, 1, sizes[1])
    ours = permutation_test(treated, control, alternative)
    statistic = mean_difference
    if alternative == "two-sided":  # scipy doubles the smaller tail; ours is by absolute value
        theirs = stats.permutation_test(
            (treated, control), lambda x, y, axis: np.abs(mean_difference(x, y, axis)), alternative="greater"
        )
    else:
        theirs = stats.permutation_test((treated, control), statistic, alternative=alternative)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.statistic == pytest.approx(treated.mean() - control.mean())


def test_equal_scores_show_nothing():
    assert permutation_test([0.5] * 3, [0.5] * 6).p == 1.0


def test_sums_that_differ_only_by_rounding_are_ties():
    # .1 + .2 and .3 + 0 are equal prices, though not as floating-point numbers.
    test = permutation_test([0.1, 0.2], [0.3, 0.0])
    assert test.p == pytest.approx(4 / 6)


def test_many_assignments_are_drawn_with_a_seed():
    random = np.random.default_rng(1)
    treated, control = random.normal(0.3, 1, 12), random.normal(0, 1, 14)  # 9.7 million assignments
    one, again, other = (permutation_test(treated, control, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert (one.exact, one.seed, one.assignments) == (False, 1, 100_001)
    assert one.p != other.p
    theirs = stats.ttest_ind(treated, control, alternative="greater").pvalue
    assert one.p == pytest.approx(theirs, abs=0.01)
    # The actual assignment counts as one of those drawn: p is never zero.
    assert permutation_test(treated + 100, control).p == pytest.approx(1 / 100_001)


def test_the_largest_exact_design_is_exact():
    test = permutation_test(np.arange(9) + 100.0, np.arange(12))  # 293,930 assignments
    assert test.exact
    assert test.p == pytest.approx(1 / 293_930)


@pytest.mark.parametrize("arms", [([], [1.0]), ([1.0], []), ([float("nan")], [1.0]), ([float("inf")], [1.0, 2.0])])
def test_what_cannot_be_tested(arms):
    with pytest.raises(ValueError):
        permutation_test(*arms)


def test_too_few_draws():
    with pytest.raises(ValueError, match="100000 draws"):
        permutation_test([1.0], [2.0], draws=999)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=4),
    st.lists(st.floats(-10, 10), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_the_order_of_units_does_not_matter(treated, control, random):
    expected = permutation_test(treated, control)
    random.shuffle(treated)
    random.shuffle(control)
    assert permutation_test(treated, control) == expected
    assert attainable_p(len(treated), len(control)) <= expected.p <= 1


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
