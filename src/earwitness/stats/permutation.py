"""Permutation of whole units between two arms: assignments, the test, and what it can attain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from math import comb
from typing import Any, Literal

import numpy as np

Alternative = Literal["greater", "less", "two-sided"]
Floats = np.ndarray[Any, np.dtype[np.float64]]

EXACT_LIMIT = 1_000_000
"""Up to so many assignments, all are enumerated (METHOD.md)."""

DRAWS = 100_000
"""The fewest random assignments beyond that (METHOD.md)."""

# Statistics that differ by less than this share of the largest value are equal: sums in another order differ so.
TOLERANCE = 1e-9

_CHUNK_CELLS = 4_000_000


@dataclass(frozen=True)
class PermutationTest:
    """The result: `statistic` is the difference of means, treated less control; `seed` is None where exact."""

    p: float
    statistic: float
    units_treated: int
    units_control: int
    assignments: int
    exact: bool
    seed: int | None


@dataclass(frozen=True)
class Assignments:
    """All ways to choose the treated among `units`, or `draws` random ones where they number more than `limit`.

    The actual assignment is not known here; with draws, whoever counts must add it once.
    """

    units: int
    treated: int
    seed: int
    draws: int
    limit: int = EXACT_LIMIT

    @property
    def exact(self) -> bool:
        """Whether all assignments are enumerated."""
        return comb(self.units, self.treated) <= self.limit

    @property
    def counted(self) -> int:
        """The number that p-values are divided by: all assignments, or the draws and the actual one."""
        return comb(self.units, self.treated) if self.exact else self.draws + 1

    def chunks(self, columns: int = 1) -> Iterator[Floats]:
        """Assignments as rows of ones (treated) and zeros, shape (m, units), m fit for `columns` results each."""
        size = max(1, _CHUNK_CELLS // max(self.units, columns))
        if self.exact:
            every = combinations(range(self.units), self.treated)
            while (flat := np.fromiter(chain.from_iterable(islice(every, size)), np.intp)).size:
                yield self._rows(flat.reshape(-1, self.treated))
        else:
            random = np.random.default_rng(self.seed)
            for start in range(0, self.draws, size):
                keys = random.random((min(size, self.draws - start), self.units))
                yield self._rows(np.argpartition(keys, self.treated - 1, axis=1)[:, : self.treated])

    def _rows(self, chosen: np.ndarray[Any, np.dtype[np.intp]]) -> Floats:
        rows = np.zeros((chosen.shape[0], self.units))
        np.put_along_axis(rows, chosen, 1.0, axis=1)
        return rows


def permutation_test(
    treated: Sequence[float],
    control: Sequence[float],
    alternative: Alternative = "greater",
    seed: int = 0,
    draws: int = DRAWS,
) -> PermutationTest:
    """Test the difference of means of two arms by permuting units between them.

    Exact while the assignments number at most `EXACT_LIMIT`; else p = (k + 1) / (draws + 1), where k draws are as
    extreme (Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9, 2010). Two-sided is by absolute value.

    Args:
        treated: one score per treated unit.
        control: one score per control unit.
        alternative: where the treated mean should lie.
        seed: of the random draws; unused where exact.
        draws: number of random assignments, at least `DRAWS`.

    Raises:
        ValueError: an arm is empty, a score is not finite, or there are too few draws.
    """
    # Sorted, so that neither rounding nor the draws depend on the order in which the units come.
    first, second = np.sort(np.asarray(treated, float)), np.sort(np.asarray(control, float))
    if not first.size or not second.size:
        raise ValueError("each arm needs at least one unit")
    pooled = np.sort(np.concatenate([first, second]))
    if not np.isfinite(pooled).all():
        raise ValueError("scores must be finite")
    if draws < DRAWS:
        raise ValueError(f"at least {DRAWS} draws are needed")
    ways = Assignments(pooled.size, first.size, seed, draws)
    statistic = float(first.mean() - second.mean())
    slack = TOLERANCE * float(np.abs(pooled).max())
    extreme = 0
    for rows in ways.chunks():
        sums = rows @ pooled
        differences = sums / first.size - (pooled.sum() - sums) / second.size
        extreme += int(_as_extreme(differences, statistic, slack, alternative).sum())
    if not ways.exact:
        extreme += 1
    return PermutationTest(
        p=extreme / ways.counted,
        statistic=statistic,
        units_treated=first.size,
        units_control=second.size,
        assignments=ways.counted,
        exact=ways.exact,
        seed=None if ways.exact else seed,
    )


def attainable_p(units_treated: int, units_control: int, alternative: Alternative = "greater") -> float:
    """The smallest p that a permutation of so many units can give, whatever the data.

    One over the number of assignments; twice that for a two-sided test of equal arms, where swapping the arms gives the
    same absolute difference.
    """
    ways = comb(units_treated + units_control, units_treated)
    mirrored = alternative == "two-sided" and units_treated == units_control
    return min(1.0, (2 if mirrored else 1) / ways)


def _as_extreme(
    differences: Floats, statistic: float, slack: float, alternative: Alternative
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if alternative == "greater":
        return differences >= statistic - slack
    if alternative == "less":
        return differences <= statistic + slack
    return np.abs(differences) >= abs(statistic) - slack
