"""The packet kernel: dissection and flow assignment, compiled by numba.

Works on blocks of bytes and integer arrays only; it does no I/O and allocates nothing, so the caller decides how
much memory is used. Every read is checked against the end of the record by hand: the compiled code has no bounds
checks of its own. The signatures of the two entry points are pinned, so importing this module compiles them once
and afterwards loads them from numba's cache beside this file (or in its user-wide cache directory where this one
cannot be written); what they call is compiled into them.

Sources: the tcpdump link-layer header types; RFC 768, 791, 4302, 8200, 9000 (QUIC's long header), 9293.
"""

from __future__ import annotations

from earwitness.capture.jit import Bytes, Ints, Ints32, int64, njit, uint64
from earwitness.capture.records import AT, CAPTURED, LINK, START, WIRE

# Columns of `flows`. Side A is the lower (address, port); AB counts packets sent by A. KEY is version, ports, protocol.
# SYN_SIDE is 1 or 2 where A or B sent a SYN, -1 or -2 where only its answer (SYN and ACK) was seen, from A or B.
# BASE is the sequence number of the first byte of a side's stream, KIND how we know (0 not, 1 first seen, 2 its SYN).
(
    A_HIGH, A_LOW, B_HIGH, B_LOW, KEY, PACKETS_AB, PACKETS_BA, BYTES_AB, BYTES_BA, FIRST, LAST, FIRST_PACKET,
    FIRST_SIDE, MAC_A, MAC_B, SYN_SIDE, BASE_A, BASE_B, KIND_A, KIND_B, CONNECTION, READ,
) = range(22)  # fmt: skip
FLOW_COLUMNS = 22
NO_MAC = -1
MAC_FROM_RECEIVED = 1 << 48  # set on a hardware address known only from frames sent to it

# Columns of `excerpts`: payloads that may carry a name, for the readers in Python.
X_FLOW, X_SIDE, X_KIND, X_PACKET, X_AT, X_START, X_LENGTH, X_OFFSET, X_CONNECTION, X_ANCHORED = range(10)
EXCERPT_COLUMNS = 10
TCP_STREAM, DNS_STREAM, DNS_DATAGRAM, QUIC_DATAGRAM = range(1, 5)
STREAM_WINDOW = 1 << 14  # a TLS record, and any sane HTTP header, ends within it
DNS_WINDOW = 1 << 17

# Positions in `counts`.
PACKETS, FRAME_BYTES, FLOWS, MALFORMED, TUNNELS = range(5)
COUNT_COLUMNS = 5

# Columns of `fragments`, a small associative memory of first fragments whose later ones may still come.
FRAGMENT_COLUMNS = 7
FRAGMENT_ROWS = 4096
_WAYS = 8
_FRAGMENT_LIFE = 60_000_000  # µs; RFC 8200 gives up reassembly after 60 s


@njit(inline="always")
def _be16(b: Bytes, o: int) -> int:
    return (int64(b[o]) << 8) | int64(b[o + 1])


@njit(inline="always")
def _be32(b: Bytes, o: int) -> int:
    return (_be16(b, o) << 16) | _be16(b, o + 2)


@njit(inline="always")
def _be48(b: Bytes, o: int) -> int:
    return (_be16(b, o) << 32) | _be32(b, o + 2)


@njit(inline="always")
def _be64(b: Bytes, o: int) -> int:
    return (_be32(b, o) << 32) | _be32(b, o + 4)


@njit()
def _link_layer(b: Bytes, p: int, e: int, link: int) -> tuple[int, int, int, int]:
    """Opens the link layer: (ethertype, start of the network layer, source MAC, destination MAC).

    The ethertype is -1 where the header is cut and 0 where nothing follows that we know.
    """
    source = destination = int64(NO_MAC)
    if link == 1:
        if p + 14 > e:
            return -1, p, source, destination
        destination = _be48(b, p)
        source = _be48(b, p + 6)
        kind = _be16(b, p + 12)
        p += 14
    elif link == 113:
        if p + 16 > e:
            return -1, p, source, destination
        if _be16(b, p + 4) == 6:
            source = _be48(b, p + 6)
        kind = _be16(b, p + 14)
        p += 16
    elif link == 276:
        if p + 20 > e:
            return -1, p, source, destination
        if b[p + 11] == 6:
            source = _be48(b, p + 12)
        kind = _be16(b, p)
        p += 20
    elif link == 0 or link == 108:
        if p + 4 > e:
            return -1, p, source, destination
        family = _be32(b, p)
        if family > 0xFFFF:  # DLT_NULL is in the byte order of the machine that captured
            family = (int64(b[p + 1]) << 8) | int64(b[p])
        kind = int64(0)
        if family == 2:
            kind = int64(0x0800)
        elif family == 10 or family == 24 or family == 28 or family == 30:
            kind = int64(0x86DD)
        p += 4
    else:  # raw IP
        if p + 1 > e:
            return -1, p, source, destination
        version = b[p] >> 4
        kind = int64(0)
        if version == 4 and link != 229:
            kind = int64(0x0800)
        elif version == 6 and link != 228:
            kind = int64(0x86DD)
        return kind, p, source, destination
    while (kind == 0x8100 or kind == 0x88A8 or kind == 0x9100) and p + 4 <= e:
        kind = _be16(b, p + 2)
        p += 4
    if kind <= 1500 and p + 8 <= e and _be48(b, p) == 0xAAAA03000000:  # 802.3 with LLC and SNAP
        kind = _be16(b, p + 6)
        p += 8
    return kind, p, source, destination


@njit()
def _network_layer(b: Bytes, p: int, e: int, kind: int) -> tuple[int, int, int, int, int, int, int, int, int, int]:
    """Opens IPv4 or IPv6 with its extension headers.

    Returns (protocol, start, end, fragment offset, fragment key or -1, reserved, source high, source low,
    destination high, destination low); protocol is -1 where the header is cut or contradicts itself.
    """
    z = int64(0)
    fragment_key = int64(-1)
    offset = int64(0)
    if kind == 0x0800:
        if p + 20 > e:
            return -1, p, e, z, z, z, z, z, z, z
        header = (int64(b[p]) & 15) * 4
        length = _be16(b, p + 2)
        if b[p] >> 4 != 4 or header < 20 or (length != 0 and length < header) or p + header > e:
            return -1, p, e, z, z, z, z, z, z, z
        protocol = int64(b[p + 9])
        flags = _be16(b, p + 6)
        offset = (flags & 0x1FFF) * 8
        if flags & 0x3FFF:
            fragment_key = (_be16(b, p + 4) << 8) | protocol
        source_high = destination_high = z
        source = _be32(b, p + 12)
        destination = _be32(b, p + 16)
        if length != 0 and p + length < e:  # 0: left to the network card (TCP segmentation offload)
            e = p + length
        p += header
    else:
        if p + 40 > e or b[p] >> 4 != 6:
            return -1, p, e, z, z, z, z, z, z, z
        length = _be16(b, p + 4)
        protocol = int64(b[p + 6])
        source_high = _be64(b, p + 8)
        source = _be64(b, p + 16)
        destination_high = _be64(b, p + 24)
        destination = _be64(b, p + 32)
        if length != 0 and p + 40 + length < e:
            e = p + 40 + length
        p += 40
    while offset == 0:
        if protocol == 51:  # authentication header, counted in 4-byte words
            size = int64(8) if p + 2 > e else (int64(b[p + 1]) + 2) * 4
        elif kind == 0x0800:
            break
        elif protocol == 44:
            size = int64(8)
            if p + 8 <= e:
                offset = _be16(b, p + 2) & 0xFFF8
                fragment_key = _be32(b, p + 4) << 8
        elif protocol == 0 or protocol == 43 or protocol == 60 or protocol == 135:
            size = int64(8) if p + 2 > e else (int64(b[p + 1]) + 1) * 8
        else:
            break
        if p + size > e:
            return -1, p, e, z, z, z, z, z, z, z
        protocol = int64(b[p])
        p += size
    return (
        protocol, p, e, offset, fragment_key, z, source_high, source, destination_high, destination,
    )  # fmt: skip


@njit()
def _mix(a: int, b: int, c: int, d: int, k: int, seed: int) -> int:
    """A 62-bit hash; `seed` differs per run, so a capture cannot be written to make it collide."""
    h = uint64(seed)
    for part in (a, b, c, d, k):
        h = (h ^ uint64(part)) * uint64(0x9E3779B97F4A7C15)
        h ^= h >> uint64(29)
        h *= uint64(0xBF58476D1CE4E5B9)
        h ^= h >> uint64(32)
    return int64(h >> uint64(2))


@njit("void(int64[:,::1],int64,int32[::1],int64)", cache=True)
def index_flows(flows: Ints, count: int, slots: Ints32, seed: int) -> None:
    """Fills the empty (-1) hash table `slots`, whose size is a power of two, with the first `count` flows."""
    mask = slots.size - 1
    for f in range(count):
        s = _mix(flows[f, A_HIGH], flows[f, A_LOW], flows[f, B_HIGH], flows[f, B_LOW], flows[f, KEY], seed) & mask
        while slots[s] >= 0:
            s = (s + 1) & mask
        slots[s] = f


@njit()
def _fragment_row(fragments: Ints, sh: int, sl: int, dh: int, dl: int, key: int) -> int:
    """The row of a fragmented packet: its own if it is known, else the emptiest one, to be overwritten.

    Which rows are overwritten must not differ from run to run, so this hash has no seed; eight looks bound its cost.
    """
    home = _mix(sh, sl, dh, dl, key, 0)
    best = int64(-1)
    for way in range(_WAYS):
        r = (home + way) & (FRAGMENT_ROWS - 1)
        if (
            fragments[r, 5] > 0
            and fragments[r, 4] == key
            and fragments[r, 1] == sl
            and fragments[r, 3] == dl
            and fragments[r, 0] == sh
            and fragments[r, 2] == dh
        ):
            return r
        if best < 0 or (fragments[best, 5] > 0 and (fragments[r, 5] == 0 or fragments[r, 6] < fragments[best, 6])):
            best = r
    return best


@njit(
    "int64(uint8[::1],int64[:,::1],int64,int64[:,::1],int32[::1],int64,int64[:,::1],int64[:,::1],int32[::1],"
    "int64[::1])",
    cache=True,
    nogil=True,
)
def dissect(
    b: Bytes,
    records: Ints,
    n: int,
    flows: Ints,
    slots: Ints32,
    seed: int,
    fragments: Ints,
    excerpts: Ints,
    assigned: Ints32,
    counts: Ints,
) -> int:
    """Assigns the first `n` records to flows and picks the payloads that may carry a name.

    `flows` must have room for `n` more rows, `slots` twice as many places as rows, `excerpts` and `assigned` n rows.
    `assigned` gets flow x 2 + side for each record (side 0: sent by A), -1 where it belongs to no flow, -2 where
    the link type is not known. Returns the number of excerpts.
    """
    mask = slots.size - 1
    found = 0
    for i in range(n):
        counts[PACKETS] += 1
        wire = records[i, WIRE]
        counts[FRAME_BYTES] += wire
        at = records[i, AT]
        link = records[i, LINK]
        assigned[i] = -1
        if not (
            link == 1 or link == 113 or link == 276 or link == 0 or link == 108
            or link == 101 or link == 12 or link == 14 or link == 228 or link == 229
        ):  # fmt: skip
            assigned[i] = -2
            continue
        p = records[i, START]
        e = p + records[i, CAPTURED]
        whole = records[i, CAPTURED] >= wire
        kind, p, source_mac, destination_mac = _link_layer(b, p, e, link)
        if kind != 0x0800 and kind != 0x86DD:
            if kind == -1:
                counts[MALFORMED] += 1
            elif kind == 0x8864 or kind == 0x8847 or kind == 0x8848:  # PPPoE, MPLS
                counts[TUNNELS] += 1
            continue
        protocol, p, e, offset, fragment_key, _, ah, al, bh, bl = _network_layer(b, p, e, kind)
        if protocol < 0:
            counts[MALFORMED] += 1
            continue
        if fragment_key >= 0:
            row = _fragment_row(fragments, ah, al, bh, bl, fragment_key)
            known = (
                fragments[row, 5] > 0
                and fragments[row, 4] == fragment_key
                and fragments[row, 0] == ah
                and fragments[row, 1] == al
                and fragments[row, 2] == bh
                and fragments[row, 3] == bl
            )
            if offset != 0:
                if known and abs(at - fragments[row, 6]) <= _FRAGMENT_LIFE:
                    owner = fragments[row, 5] - 1
                    assigned[i] = owner
                    f = owner >> 1
                    flows[f, PACKETS_AB + (owner & 1)] += 1
                    flows[f, BYTES_AB + (owner & 1)] += wire
                    flows[f, FIRST] = min(flows[f, FIRST], at)
                    flows[f, LAST] = max(flows[f, LAST], at)
                continue
        if protocol != 6 and protocol != 17:
            if protocol == 4 or protocol == 41 or protocol == 47 or protocol == 50:  # IP in IP, GRE, ESP
                counts[TUNNELS] += 1
            continue
        if p + 4 > e:
            counts[MALFORMED] += 1
            continue
        source_port = _be16(b, p)
        destination_port = _be16(b, p + 2)
        side = 0
        if ah > bh or (ah == bh and (al > bl or (al == bl and source_port > destination_port))):
            side = 1
            ah, bh = bh, ah
            al, bl = bl, al
        low, high = (source_port, destination_port) if side == 0 else (destination_port, source_port)
        key = (low << 24) | (high << 8) | protocol
        if kind == 0x86DD:
            key |= 1 << 40
        s = _mix(ah, al, bh, bl, key, seed) & mask
        while True:
            f = int64(slots[s])
            if f < 0:
                f = counts[FLOWS]
                counts[FLOWS] += 1
                slots[s] = f
                flows[f, :] = 0
                flows[f, A_HIGH] = ah
                flows[f, A_LOW] = al
                flows[f, B_HIGH] = bh
                flows[f, B_LOW] = bl
                flows[f, KEY] = key
                flows[f, FIRST] = flows[f, LAST] = at
                flows[f, FIRST_PACKET] = counts[PACKETS]
                flows[f, FIRST_SIDE] = side
                flows[f, MAC_A] = flows[f, MAC_B] = NO_MAC
                break
            if (
                flows[f, KEY] == key
                and flows[f, A_LOW] == al
                and flows[f, B_LOW] == bl
                and flows[f, A_HIGH] == ah
                and flows[f, B_HIGH] == bh
            ):
                break
            s = (s + 1) & mask
        assigned[i] = f * 2 + side
        flows[f, PACKETS_AB + side] += 1
        flows[f, BYTES_AB + side] += wire
        flows[f, FIRST] = min(flows[f, FIRST], at)
        flows[f, LAST] = max(flows[f, LAST], at)
        if source_mac != NO_MAC and (flows[f, MAC_A + side] < 0 or flows[f, MAC_A + side] >= MAC_FROM_RECEIVED):
            flows[f, MAC_A + side] = source_mac
        if destination_mac != NO_MAC and flows[f, MAC_B - side] < 0:
            flows[f, MAC_B - side] = destination_mac | MAC_FROM_RECEIVED
        if fragment_key >= 0:
            fragments[row, 0] = ah if side == 0 else bh
            fragments[row, 1] = al if side == 0 else bl
            fragments[row, 2] = bh if side == 0 else ah
            fragments[row, 3] = bl if side == 0 else al
            fragments[row, 4] = fragment_key
            fragments[row, 5] = f * 2 + side + 1
            fragments[row, 6] = at
        dns = source_port == 53 or destination_port == 53
        kind_of_excerpt = 0
        stream_offset = int64(0)
        anchored = int64(0)
        if protocol == 6:
            start = p + 20 if p + 20 > e else p + (int64(b[p + 12]) >> 4) * 4
            if start < p + 20 or start > e:
                counts[MALFORMED] += 1 if whole else 0  # cut by the snap length is not the sender's fault
                continue
            sequence = _be32(b, p + 4)
            flags = int64(b[p + 13])
            if flags & 2:
                if flags & 16 == 0:
                    if flows[f, SYN_SIDE] <= 0:
                        flows[f, SYN_SIDE] = side + 1
                elif flows[f, SYN_SIDE] == 0:
                    flows[f, SYN_SIDE] = -(side + 1)
                sequence = (sequence + 1) & 0xFFFFFFFF
                known_as = flows[f, KIND_A + side]
                if known_as == 1 or (known_as == 2 and flows[f, BASE_A + side] != sequence):
                    flows[f, CONNECTION] += 1  # the ports are used again: a new stream, named afresh
                    flows[f, READ] = flows[f, KIND_A] = flows[f, KIND_B] = 0
                flows[f, BASE_A + side] = sequence
                flows[f, KIND_A + side] = 2
            if start >= e:
                continue
            if flows[f, KIND_A + side] == 0:
                flows[f, BASE_A + side] = sequence
                flows[f, KIND_A + side] = 1
            stream_offset = (sequence - flows[f, BASE_A + side]) & 0xFFFFFFFF
            if stream_offset >= 1 << 31:
                stream_offset -= 1 << 32
            anchored = int64(flows[f, KIND_A + side] == 2)
            if dns:
                if source_port == 53 and -DNS_WINDOW < stream_offset < DNS_WINDOW:
                    kind_of_excerpt = DNS_STREAM
            elif (
                flows[f, READ] == 0
                and (flows[f, SYN_SIDE] <= 0 or flows[f, SYN_SIDE] == side + 1)
                and flows[f, SYN_SIDE] != -(side + 1)
                and -STREAM_WINDOW < stream_offset < STREAM_WINDOW
            ):
                kind_of_excerpt = TCP_STREAM
        else:
            start = p + 8
            if start > e:
                counts[MALFORMED] += 1 if whole else 0
                continue
            length = _be16(b, p + 4)
            if length != 0 and length < 8:
                counts[MALFORMED] += 1
                continue
            if length != 0 and p + length < e:
                e = p + length
            if source_port == 53:
                if e - start >= 3 and b[start + 2] & 0x80:
                    kind_of_excerpt = DNS_DATAGRAM
            elif flows[f, READ] == 0 and e - start >= 7 and b[start] & 0x80:
                version = _be32(b, start + 1)
                if version == 1 or version == 0x6B3343CF or version >> 8 == 0xFF0000:
                    kind_of_excerpt = QUIC_DATAGRAM
        if kind_of_excerpt:
            excerpts[found, X_FLOW] = f
            excerpts[found, X_SIDE] = side
            excerpts[found, X_KIND] = kind_of_excerpt
            excerpts[found, X_PACKET] = counts[PACKETS]
            excerpts[found, X_AT] = at
            excerpts[found, X_START] = start
            excerpts[found, X_LENGTH] = e - start
            excerpts[found, X_OFFSET] = stream_offset
            excerpts[found, X_CONNECTION] = flows[f, CONNECTION]
            excerpts[found, X_ANCHORED] = anchored
            found += 1
    return found
