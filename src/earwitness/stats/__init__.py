"""Takes bids, visits and profiles; gives tests whose unit is the profile, effects with intervals, and corrections.

Pure functions: equal inputs and seeds give equal results, in whatever order the rows come.
"""

from earwitness.stats.bid_tests import (
    BID_RATE_DIFFERENCE,
    CPM_RATIO,
    SCORE_RANK_BISERIAL,
    Hypothesis,
    MannWhitney,
    bid_tests,
    mann_whitney_bids,
)
from earwitness.stats.effects import Effect, bid_rate_difference, cpm_ratio, rank_biserial
from earwitness.stats.multiplicity import holm
from earwitness.stats.permutation import Alternative, PermutationTest, attainable_p, permutation_test
from earwitness.stats.ranks import rank_scores

__all__ = [
    "BID_RATE_DIFFERENCE",
    "CPM_RATIO",
    "SCORE_RANK_BISERIAL",
    "Alternative",
    "Effect",
    "Hypothesis",
    "MannWhitney",
    "PermutationTest",
    "attainable_p",
    "bid_rate_difference",
    "bid_tests",
    "cpm_ratio",
    "holm",
    "mann_whitney_bids",
    "permutation_test",
    "rank_biserial",
    "rank_scores",
]
