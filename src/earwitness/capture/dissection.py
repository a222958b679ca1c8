"""Feeds packet records to the kernel and keeps what it finds."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import numpy.typing as npt

from earwitness.capture.jit import Bytes, Ints, Ints32
from earwitness.capture.kernel import (
    COUNT_COLUMNS,
    EXCERPT_COLUMNS,
    FLOW_COLUMNS,
    FLOWS,
    FRAGMENT_COLUMNS,
    FRAGMENT_ROWS,
    dissect,
    index_flows,
)
from earwitness.capture.naming import NameCollector
from earwitness.capture.records import AT, LINK, WIRE

_UNKNOWN_LINK = -2


class Dissector:
    """Flows and counts so far (columns of `kernel`), packets of flows, and packets of link types we cannot read."""

    def __init__(self, names: NameCollector) -> None:
        self.counts: Ints = np.zeros(COUNT_COLUMNS, np.int64)
        self.unknown_links: Counter[int] = Counter()
        self._names = names
        self._flows: Ints = np.empty((0, FLOW_COLUMNS), np.int64)
        self._slots: Ints32 = np.full(1, -1, np.int32)
        self._seed = int.from_bytes(os.urandom(7), "big")
        self._fragments: Ints = np.zeros((FRAGMENT_ROWS, FRAGMENT_COLUMNS), np.int64)
        self._excerpts: Ints = np.empty((0, EXCERPT_COLUMNS), np.int64)
        self._packets: list[tuple[Ints32, Ints, Ints]] = []

    @property
    def flows(self) -> Ints:
        """One row per flow, in the order of their first packets."""
        return self._flows[: self.counts[FLOWS]]

    def add(self, buffer: Bytes, records: Ints) -> None:
        """Dissect `records` (columns of `records`), which lie in `buffer`."""
        count = len(records)
        if not count:
            return
        self._make_room(count)
        assigned = np.empty(count, np.int32)
        found = dissect(
            buffer,
            records,
            count,
            self._flows,
            self._slots,
            self._seed,
            self._fragments,
            self._excerpts,
            assigned,
            self.counts,
        )
        self._names.read(buffer, self._excerpts[:found], self._flows)
        self.unknown_links.update(records[assigned == _UNKNOWN_LINK, LINK].tolist())
        belonging = assigned >= 0
        self._packets.append((assigned[belonging], records[belonging, AT], records[belonging, WIRE]))

    def packets(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Ints, Ints]:
        """Of each packet that belongs to a flow: flow, sending side (0: A), time in µs, original length."""
        assigned, at, wire = (
            np.concatenate([part[column] for part in self._packets] or [np.empty(0, np.int64)]) for column in range(3)
        )
        return (assigned >> 1).astype(np.int32), (assigned & 1).astype(np.int32), at, wire

    def _make_room(self, count: int) -> None:
        if len(self._excerpts) < count:
            self._excerpts = np.empty((count, EXCERPT_COLUMNS), np.int64)
        used = int(self.counts[FLOWS])
        if used + count <= len(self._flows):
            return
        grown = np.empty((max(used + count, 2 * len(self._flows)), FLOW_COLUMNS), np.int64)
        grown[:used] = self._flows[:used]
        self._flows = grown
        self._slots = np.full(1 << (2 * len(grown)).bit_length(), -1, np.int32)
        index_flows(self._flows, used, self._slots, self._seed)
