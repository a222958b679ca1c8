"""Stretches of a device's time: skill windows, and everything else as its idle baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

SETTLE_US = 500_000
"""µs after an interaction that still belong to it: its connections close, and the router's clock may differ."""

Moments = np.ndarray[Any, np.dtype[np.int64]]


class Window(NamedTuple):
    """One interaction with a skill, as a half-open stretch of time in µs."""

    skill: str
    start: int
    end: int


@dataclass(frozen=True)
class Timeline:
    """A device's captured time, in µs.

    `windows` are its skill windows, in order, not overlapping. `idle` are the stretches that were captured outside of
    them, shape (n, 2), in order.
    """

    windows: Sequence[Window]
    idle: Moments

    @property
    def idle_us(self) -> int:
        """How much idle time was captured."""
        return int((self.idle[:, 1] - self.idle[:, 0]).sum())

    def window_of(self, at: Moments) -> Moments:
        """For each moment the number of the window that it falls in; -1 where idle."""
        if not self.windows:
            return np.full(at.shape, -1, np.int64)
        starts = np.array([window.start for window in self.windows])
        ends = np.array([window.end for window in self.windows])
        number = np.searchsorted(starts, at, side="right") - 1
        inside = (number >= 0) & (at < ends[np.maximum(number, 0)])
        return np.where(inside, number, -1)

    def idle_clock(self, at: Moments) -> Moments:
        """Moments of idle time on a clock that stands still during skill windows and between captures."""
        starts, ends = self.idle[:, 0], self.idle[:, 1]
        passed = np.concatenate([[0], np.cumsum(ends - starts)[:-1]])
        number = np.maximum(np.searchsorted(starts, at, side="right") - 1, 0)
        return passed[number] + np.minimum(at, ends[number]) - starts[number]


def timeline(interactions: Sequence[Mapping[str, Any]], captured: Sequence[tuple[int, int]]) -> Timeline:
    """A device's timeline.

    Args:
        interactions: its rows of `interactions`, in any order; those without a skill or an end are idle time.
        captured: its captures as half-open stretches of time, in µs.

    A window ends `SETTLE_US` after its interaction, but not later than the next one starts. Where interactions overlap,
    the later takes over.
    """
    spoken = sorted(
        (_us(row["started_at"]), _us(row["ended_at"]), row["skill"])
        for row in interactions
        if row["skill"] is not None and row["started_at"] is not None and row["ended_at"] is not None
    )
    windows = []
    for number, (start, end, skill) in enumerate(spoken):
        following = spoken[number + 1][0] if number + 1 < len(spoken) else end + SETTLE_US
        if (end := min(end + SETTLE_US, following)) > start:
            windows.append(Window(skill, start, end))
    idle = []
    for start, end in _merged(captured):
        at = start
        for window in windows:
            if window.end > at and window.start < end:
                if window.start > at:
                    idle.append((at, window.start))
                at = window.end
        if at < end:
            idle.append((at, end))
    return Timeline(windows, np.array(idle, np.int64).reshape(-1, 2))


def most_in_any(at: Moments, amount: Moments, length: int) -> int:
    """The largest sum of `amount` over any stretch of `length`; `at` in ascending order."""
    if not at.size:
        return 0
    total = np.concatenate([[0], np.cumsum(amount)])
    return int((total[np.searchsorted(at, at + length, side="left")] - total[: at.size]).max())


def microseconds(column: pa.ChunkedArray) -> Moments:
    """A column of times as µs since 1970."""
    found: Moments = column.cast(pa.int64()).combine_chunks().to_numpy(zero_copy_only=False)
    return found


def _us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _merged(stretches: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
