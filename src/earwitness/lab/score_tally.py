"""Counting what was found, missed and falsely claimed; every question of the score ends here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

Key = tuple[Any, ...]

NAMED_MISSES = 50
"""How many misses a question lists by name; the counts are always complete."""

_Z95 = 1.959963984540054  # the standard normal quantile at .975


@dataclass
class Tally:
    """What one question came to: matches, truth that was not found, claims that are not true.

    `columns` names the parts of each key in `missed` and `false`.
    """

    columns: tuple[str, ...]
    found: int = 0
    missed: list[Key] = field(default_factory=list)
    false: list[Key] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """The question's entry in the contract of `score --json`.

        Shares are null where there is nothing to take a share of. Intervals take the counted things as independent,
        which they are not quite: things of one profile share its fate.
        """
        claimed, true = self.found + len(self.false), self.found + len(self.missed)
        return {
            "tp": self.found,
            "fp": len(self.false),
            "fn": len(self.missed),
            "precision": self.found / claimed if claimed else None,
            "recall": self.found / true if true else None,
            "interval": {
                "precision": wilson(self.found, claimed),
                "recall": wilson(self.found, true),
            },
            "misses": self._named(),
        }

    def _named(self) -> list[dict[str, Any]]:
        """Up to `NAMED_MISSES` misses, half of them of each kind where there are enough of both."""
        missed = [{"kind": "fn", **self._entry(key)} for key in _ordered(self.missed)]
        false = [{"kind": "fp", **self._entry(key)} for key in _ordered(self.false)]
        half = NAMED_MISSES // 2
        kept = missed[: max(half, NAMED_MISSES - len(false))]
        return kept + false[: NAMED_MISSES - len(kept)]

    def _entry(self, key: Key) -> dict[str, Any]:
        return dict(zip(self.columns, key, strict=True))


def wilson(hits: int, tries: int) -> list[float] | None:
    """The 95 % Wilson score interval [low, high] of a share (Wilson 1927); None without tries."""
    if tries == 0:
        return None
    share, spread = hits / tries, _Z95**2 / tries
    centre = share + spread / 2
    reach = _Z95 * math.sqrt(share * (1 - share) / tries + spread / (4 * tries))
    low, high = (centre - reach) / (1 + spread), (centre + reach) / (1 + spread)
    return [0.0 if hits == 0 else low, 1.0 if hits == tries else high]


def tally_occurrences(columns: Sequence[str], truth: Iterable[Key], measured: Iterable[Key]) -> Tally:
    """Match by key and n-th occurrence: the n-th equal claim finds the n-th equal fact."""
    true, claimed = Counter(truth), Counter(measured)
    found = sum((true & claimed).values())
    missed, false = list((true - claimed).elements()), list((claimed - true).elements())
    return Tally(tuple(columns), found, missed, false)


def tally_set(columns: Sequence[str], truth: set[Any], measured: set[Any]) -> Tally:
    """Match by key, repetitions counting once. A key of one column may be given bare."""
    found = len(truth & measured)
    missed, false = truth - measured, measured - truth
    return Tally(tuple(columns), found, [*map(_key, missed)], [*map(_key, false)])


def rows_of(table: pa.Table, *columns: str) -> list[Key]:
    """The rows of `table` as tuples of `columns`; times as whole UTC microseconds."""
    picked = []
    for name in columns:
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        picked.append(column.to_pylist())
    return list(zip(*picked, strict=True))


def _key(value: Any) -> Key:
    return value if isinstance(value, tuple) else (value,)


def _ordered(keys: list[Key]) -> list[Key]:
    """In an order that is the same in every run; null before everything."""
    return sorted(keys, key=lambda key: tuple((part is not None, str(part)) for part in key))
