"""Framers: from blocks of a capture file to the places of its packets.

A framer does no I/O. `frame(buffer, start, end, records)` fills `records` (columns of `records`) with the packets
that lie whole in `buffer[start:end]` and returns (position, packets, status): where it stopped, how many it
found, and why (a status of `records`).
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from earwitness.capture.file_header import (
    PCAP_HEADER,
    SECTION_HEADER,
    SECTION_HEADER_SIZE,
    FileHeader,
    byte_order,
)
from earwitness.capture.jit import Bytes, Ints
from earwitness.capture.records import (
    CLOCK_COLUMNS,
    CONTROL_BLOCK,
    CORRUPT,
    DIVIDE,
    INTERFACE_COLUMNS,
    MAX_BLOCK,
    MULTIPLY,
    NEED_DATA,
    SHIFT,
    frame_pcap,
    frame_pcapng,
)

_IDB_SIZE = 20  # without options
_OPTION_TSRESOL, _OPTION_TSOFFSET = 9, 14
_MAX_INTERFACES = 1 << 16
_LATEST = 10**12  # s; an offset beyond it leaves the calendar anyway


class Framer(Protocol):
    """Finds packets; `clock` counts times that are missing or outside the calendar (columns of `records`)."""

    first: int
    clock: Ints

    def frame(self, buffer: Bytes, start: int, end: int, records: Ints) -> tuple[int, int, int]:
        """See the module."""
        ...

    def block_size(self, buffer: Bytes, start: int) -> int:
        """Bytes to skip for the block at `start`, after SKIP_BLOCK."""
        ...


def framer(header: FileHeader) -> Framer:
    """The framer for a file with this header."""
    return PcapFramer(header) if header.kind == "pcap" else PcapngFramer()


class PcapFramer:
    """Classic pcap."""

    def __init__(self, header: FileHeader) -> None:
        self.first = PCAP_HEADER
        self.clock = np.zeros(CLOCK_COLUMNS, np.int64)
        self._header = header

    def frame(self, buffer: Bytes, start: int, end: int, records: Ints) -> tuple[int, int, int]:
        """See the module."""
        header = self._header
        return frame_pcap(buffer, start, end, header.big_endian, header.nanoseconds, header.link_type, records)

    def block_size(self, buffer: Bytes, start: int) -> int:
        """Never asked for: classic pcap has nothing to skip."""
        raise NotImplementedError


class PcapngFramer:
    """Pcapng: any number of sections, each with its byte order and its interfaces."""

    def __init__(self) -> None:
        self.first = 0
        self.clock = np.zeros(CLOCK_COLUMNS, np.int64)
        self._order: Literal["big", "little"] | None = None
        self._interfaces = np.zeros((8, INTERFACE_COLUMNS), np.int64)
        self._interface_count = 0

    def frame(self, buffer: Bytes, start: int, end: int, records: Ints) -> tuple[int, int, int]:
        """See the module."""
        count = 0
        while True:
            if self._order is not None:
                start, found, status = frame_pcapng(
                    buffer,
                    start,
                    end,
                    self._order == "big",
                    self._interfaces,
                    self._interface_count,
                    records[count:],
                    self.clock,
                )
                count += found
                if status != CONTROL_BLOCK:
                    return start, count, status
            size, status = self._control_block(buffer[start:end])
            if status != CONTROL_BLOCK:
                return start, count, status
            start += size

    def block_size(self, buffer: Bytes, start: int) -> int:
        """The padded length of the block at `start`."""
        return _padded(self._number(buffer[start + 4 : start + 8]))

    def _number(self, field: Bytes) -> int:
        return int.from_bytes(field.tobytes(), self._order or "little")

    def _control_block(self, block: Bytes) -> tuple[int, int]:
        """Takes in the section header or interface description that `block` begins with: (size, status)."""
        if len(block) < 12:
            return 0, NEED_DATA
        is_section = block[:4].tobytes() == SECTION_HEADER
        order = byte_order(block[8:12].tobytes()) if is_section else self._order
        if order is None:
            return 0, CORRUPT
        length = int.from_bytes(block[4:8].tobytes(), order)
        if not (SECTION_HEADER_SIZE if is_section else _IDB_SIZE) <= length <= MAX_BLOCK:
            return 0, CORRUPT
        size = _padded(length)
        if len(block) < size:
            return 0, NEED_DATA
        if int.from_bytes(block[size - 4 : size].tobytes(), order) != length:
            return 0, CORRUPT
        if is_section:
            if int.from_bytes(block[12:14].tobytes(), order) != 1:
                return 0, CORRUPT
            self._order, self._interface_count = order, 0
        elif not self._add_interface(block[8 : size - 4].tobytes(), order):
            return 0, CORRUPT
        return size, CONTROL_BLOCK

    def _add_interface(self, body: bytes, order: Literal["big", "little"]) -> bool:
        if self._interface_count == _MAX_INTERFACES:
            return False
        if self._interface_count == len(self._interfaces):
            self._interfaces = np.concatenate([self._interfaces, np.zeros_like(self._interfaces)])
        resolution, offset = 6, 0
        at = 8
        while at + 4 <= len(body):
            code, length = (int.from_bytes(body[at + k : at + k + 2], order) for k in (0, 2))
            value = body[at + 4 : at + 4 + length]
            if code == 0 or len(value) < length:
                break
            if code == _OPTION_TSRESOL and length == 1:
                resolution = value[0]
            elif code == _OPTION_TSOFFSET and length == 8:
                offset = int.from_bytes(value, order, signed=True)
            at += 4 + _padded(length)
        self._interfaces[self._interface_count] = (
            int.from_bytes(body[:2], order),
            int.from_bytes(body[4:8], order),
            *_unit(resolution),
            max(-_LATEST, min(offset, _LATEST)) * 1_000_000,
        )
        self._interface_count += 1
        return True


def _unit(resolution: int) -> tuple[int, int]:
    """How to turn units of 10⁻ⁿ s, or 2⁻ⁿ s where the highest bit is set, into µs: (mode, factor)."""
    exponent = resolution & 0x7F
    if resolution & 0x80:
        return SHIFT, min(exponent, 63)
    if exponent < 6:
        return MULTIPLY, 10 ** (6 - exponent)
    return DIVIDE, min(10 ** (exponent - 6), 2**63 - 1)


def _padded(length: int) -> int:
    return -(-length // 4) * 4
