"""Record framing, compiled by numba: where in a block of a capture file each packet lies.

Like `kernel`, it works on bytes and integer arrays only and checks every read against the end by hand; the
signatures of its two entry points are pinned and cached.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

from earwitness.capture.jit import Bytes, Ints, int64, njit, uint64

# Columns of `records`, one row per packet: where its captured bytes lie in the block, and what the file says of it.
START, CAPTURED, WIRE, AT, LINK = range(5)
RECORD_COLUMNS = 5

# Columns of `interfaces` (pcapng): link type, snap length, and how to turn the units of its times into µs.
IF_LINK, IF_SNAP, IF_MODE, IF_FACTOR, IF_OFFSET = range(5)
INTERFACE_COLUMNS = 5
DIVIDE, MULTIPLY, SHIFT = range(3)

# Positions in `clock`.
NO_TIME, BAD_TIME, LAST_TIME = range(3)
CLOCK_COLUMNS = 3

# What framing returns besides the position and the number of records.
NEED_DATA, RECORDS_FULL, CORRUPT, CONTROL_BLOCK, SKIP_BLOCK = range(5)

MAX_PACKET = 262_144  # libpcap's and Wireshark's limit for a captured packet
MAX_BLOCK = 1 << 20
MAX_TIME = 253_402_300_799_999_999  # µs; the end of year 9999, the last that a datetime can hold

_FRAME = "UniTuple(int64,3)"


@njit(inline="always")
def _u32(b: Bytes, o: int, big: bool) -> int:
    first, second, third, fourth = int64(b[o]), int64(b[o + 1]), int64(b[o + 2]), int64(b[o + 3])
    if big:
        return (first << 24) | (second << 16) | (third << 8) | fourth
    return (fourth << 24) | (third << 16) | (second << 8) | first


@njit(
    f"{_FRAME}(uint8[::1],int64,int64,boolean,boolean,int64,int64[:,::1])",
    cache=True,
    nogil=True,
)
def frame_pcap(b: Bytes, pos: int, end: int, big: bool, nano: bool, link: int, records: Ints) -> tuple[int, int, int]:
    """Frames classic pcap records of `b[pos:end]` into `records`; returns (position, records, status)."""
    n = 0
    while n < records.shape[0]:
        if pos + 16 > end:
            return pos, n, NEED_DATA
        captured = _u32(b, pos + 8, big)
        if captured > MAX_PACKET:
            return pos, n, CORRUPT
        if pos + 16 + captured > end:
            return pos, n, NEED_DATA
        part = _u32(b, pos + 4, big)
        if nano:
            part //= 1000
        records[n, START] = pos + 16
        records[n, CAPTURED] = captured
        records[n, WIRE] = _u32(b, pos + 12, big)
        records[n, AT] = _u32(b, pos, big) * 1_000_000 + part
        records[n, LINK] = link
        pos += 16 + captured
        n += 1
    return pos, n, RECORDS_FULL


@njit()
def _micros(high: int, low: int, mode: int, factor: int, offset: int, clock: Ints) -> int:
    """A pcapng time stamp in µs since 1970, held within what a datetime can say."""
    units = (uint64(high) << uint64(32)) | uint64(low)
    if mode == SHIFT:
        shift = uint64(factor)
        seconds = units >> shift
        part = units & ((uint64(1) << shift) - uint64(1))
        if factor > 40:  # keep the product below within 64 bits
            part = part >> uint64(factor - 40)
            shift = uint64(40)
        limit = uint64(MAX_TIME // 1_000_000)
        if seconds > limit:
            seconds = limit + uint64(1)
        at = int64(seconds * uint64(1_000_000) + ((part * uint64(1_000_000)) >> shift))
    elif mode == MULTIPLY:
        if units > uint64(MAX_TIME // factor):
            units = uint64(MAX_TIME // factor + 1)
        at = int64(units * uint64(factor))
    else:
        units = units // uint64(factor)
        if units > uint64(MAX_TIME + 1):
            units = uint64(MAX_TIME + 1)
        at = int64(units)
    at += offset
    if at < 0 or at > MAX_TIME:
        clock[BAD_TIME] += 1
        at = min(max(at, 0), MAX_TIME)
    return at


@njit(
    f"{_FRAME}(uint8[::1],int64,int64,boolean,int64[:,::1],int64,int64[:,::1],int64[::1])",
    cache=True,
    nogil=True,
)
def frame_pcapng(
    b: Bytes,
    pos: int,
    end: int,
    big: bool,
    interfaces: Ints,
    interface_count: int,
    records: Ints,
    clock: Ints,
) -> tuple[int, int, int]:
    """Frames packet blocks (enhanced, simple, obsolete) of one section into `records`.

    Returns (position, records, status). Section and interface blocks are left to the caller (CONTROL_BLOCK), and
    so are other blocks too large to wait for (SKIP_BLOCK); smaller ones are passed over here.
    """
    n = 0
    while n < records.shape[0]:
        if pos + 12 > end:
            return pos, n, NEED_DATA
        kind = _u32(b, pos, big)
        if kind == 0x0A0D0D0A or kind == 1:
            return pos, n, CONTROL_BLOCK
        total = _u32(b, pos + 4, big)
        is_packet = kind == 6 or kind == 3 or kind == 2
        if total < 12 or (total > MAX_BLOCK and (is_packet or total & 3)):
            return pos, n, CORRUPT
        size = (total + 3) & ~3
        if size > MAX_BLOCK:
            return pos, n, SKIP_BLOCK
        if pos + size > end:
            return pos, n, NEED_DATA
        if _u32(b, pos + size - 4, big) != total:
            return pos, n, CORRUPT
        if not is_packet:
            pos += size
            continue
        if kind == 3:  # simple packet block: first interface, no time; cut at the interface's snap length
            if total < 16 or interface_count < 1:
                return pos, n, CORRUPT
            start = pos + 12
            wire = _u32(b, pos + 8, big)
            captured = min(wire, size - 16)
            if interfaces[0, IF_SNAP] > 0:
                captured = min(captured, interfaces[0, IF_SNAP])
            link = interfaces[0, IF_LINK]
            clock[NO_TIME] += 1
        else:
            if total < 32:
                return pos, n, CORRUPT
            interface = _u32(b, pos + 8, big)
            if kind == 2:  # obsolete packet block: 16 bits of interface, 16 of drop count
                interface = interface >> 16 if big else interface & 0xFFFF
            start = pos + 28
            captured = _u32(b, pos + 20, big)
            if interface >= interface_count or captured > size - 32:
                return pos, n, CORRUPT
            wire = _u32(b, pos + 24, big)
            link = interfaces[interface, IF_LINK]
            clock[LAST_TIME] = _micros(
                _u32(b, pos + 12, big),
                _u32(b, pos + 16, big),
                interfaces[interface, IF_MODE],
                interfaces[interface, IF_FACTOR],
                interfaces[interface, IF_OFFSET],
                clock,
            )
        if captured > MAX_PACKET:
            return pos, n, CORRUPT
        records[n, START] = start
        records[n, CAPTURED] = captured
        records[n, WIRE] = wire
        records[n, AT] = clock[LAST_TIME]
        records[n, LINK] = link
        pos += size
        n += 1
    return pos, n, RECORDS_FULL
