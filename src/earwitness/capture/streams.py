"""Puts the first bytes of a TCP stream together from segments that are split, reordered, repeated or missing."""

from __future__ import annotations

_MAX_RUNS = 64


class Stream:
    """One direction of one connection, as far as it was captured near its beginning.

    Offsets count from the first byte after the SYN where it was seen, else from the first byte seen, and may be
    negative. Where segments overlap, the bytes that came first stay.
    """

    def __init__(self, connection: int) -> None:
        self.connection = connection
        self.consumed = 0  # for readers of consecutive messages
        self._runs: list[tuple[int, bytearray]] = []

    def __len__(self) -> int:
        return sum(len(data) for _, data in self._runs)

    def add(self, offset: int, data: bytes) -> None:
        """Take in one segment; beyond 64 separate runs, new ones are let go."""
        end = offset + len(data)
        touching = [run for run in self._runs if run[0] <= end and offset <= run[0] + len(run[1])]
        if len(touching) == 1 and touching[0][0] <= offset:  # by far the most frequent: it continues a run
            start, known = touching[0]
            known += data[start + len(known) - offset :]
            return
        apart = [run for run in self._runs if run[0] > end or offset > run[0] + len(run[1])]
        if not touching and len(apart) >= _MAX_RUNS:
            return
        start = min([offset, *(at for at, _ in touching)])
        end = max([end, *(at + len(known) for at, known in touching)])
        merged = bytearray(end - start)
        merged[offset - start : offset - start + len(data)] = data
        for at, known in touching:
            merged[at - start : at - start + len(known)] = known
        self._runs = sorted([*apart, (start, merged)])

    def since(self, offset: int) -> bytes:
        """What follows `offset` without a hole."""
        for start, data in self._runs:
            if start <= offset < start + len(data):
                return bytes(data[offset - start :])
        return b""
