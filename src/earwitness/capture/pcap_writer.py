"""Writes conversations as a classic pcap (µs, Ethernet), packet by packet, as they happen.

`PcapWriter` owns the file; `TcpConversation` turns one relayed stream into handshake, segments, acknowledgements
and closing packets with true sequence numbers and checksums (RFC 1071, RFC 9293); `udp_frame` builds one datagram.
Nothing here touches a network.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType

MSS = 1460
_WINDOW = 0xFFFF
_SNAPLEN = 262_144
_ETHERNET = 1
_IPV4 = b"\x08\x00"
_DO_NOT_FRAGMENT = 0x4000
_FIN, _SYN, _RST, _PSH, _ACK = 0x01, 0x02, 0x04, 0x08, 0x10
_MSS_OPTION = struct.pack(">BBH", 2, 4, MSS)
_TCP, _UDP = 6, 17


@dataclass(frozen=True)
class Endpoint:
    """One side of a conversation as the capture shows it: hardware address (6 bytes), IPv4 address, port."""

    mac: bytes
    address: IPv4Address
    port: int


def parse_mac(mac: str) -> bytes:
    """Six bytes of a hardware address written as ``02:00:00:00:00:01``.

    Raises:
        ValueError: it is written in another way.
    """
    octets = bytes.fromhex(mac.replace(":", ""))
    if len(octets) != 6:
        raise ValueError(f"{mac!r} is not a hardware address of six bytes")
    return octets


class PcapWriter:
    """An open capture file, readable by its owner only; what was written survives the death of this process.

    Every call of `write` hands its packets to the kernel before it returns, so that a killed process leaves a
    readable file. Timestamps never run backwards, whatever the system clock does.

    Raises:
        OSError: the file cannot be created, or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        os.fchmod(descriptor, 0o600)  # the file may have been there already, with another mode
        self._last_us = 0
        self._file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, _SNAPLEN, _ETHERNET))
        self._file.flush()

    def __enter__(self) -> PcapWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, frames: Sequence[bytes]) -> None:
        """Append Ethernet frames, all stamped with the present moment."""
        self._last_us = max(self._last_us, time.time_ns() // 1000)
        seconds, micros = divmod(self._last_us, 1_000_000)
        for frame in frames:
            self._file.write(struct.pack("<IIII", seconds, micros, len(frame), len(frame)))
            self._file.write(frame)
        self._file.flush()

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        self._file.close()


def udp_frame(source: Endpoint, target: Endpoint, payload: bytes, identification: int) -> bytes:
    """One UDP datagram as an Ethernet frame.

    Raises:
        ValueError: the payload does not fit into one frame.
    """
    if len(payload) > MSS + 12:  # a UDP header is 12 bytes shorter than a TCP header
        raise ValueError(f"{len(payload)} bytes do not fit into one datagram on Ethernet")
    length = 8 + len(payload)
    header = struct.pack(">HHH", source.port, target.port, length)
    total = _pseudo_sum(source, target, _UDP, length) + _word_sum(header) + _word_sum(payload)
    checksum = _fold(total) or 0xFFFF  # in UDP zero means "not computed"
    return b"".join(
        (
            _ethernet_ipv4(source, target, _UDP, length, identification),
            header,
            checksum.to_bytes(2, "big"),
            payload,
        )
    )


class TcpConversation:
    """One TCP connection as packets.

    `up` in the methods says who acts: True for the client. The peer acknowledges at once, every second segment
    as stacks do, so that the capture is complete at any moment. Before the handshake, after both have finished and
    after a reset nothing else can pass: calls then write nothing. Frames go to `write`, usually `PcapWriter.write`.
    """

    def __init__(self, write: Callable[[Sequence[bytes]], None], client: Endpoint, server: Endpoint) -> None:
        self._write = write
        self._client = _Side(client, server)
        self._server = _Side(server, client)
        self._open = False

    def syn(self) -> None:
        """The client asks for a connection."""
        self._write([self._client.segment(_SYN, acked=None)])

    def accept(self) -> None:
        """The server agrees; the handshake is complete."""
        server, client = self._server, self._client
        answer = server.segment(_SYN | _ACK, acked=client)
        self._write([answer, client.segment(_ACK, acked=server)])
        self._open = True

    def refuse(self) -> None:
        """The server answers the request for a connection with a reset."""
        self._write([self._server.segment(_RST | _ACK, acked=self._client)])

    def data(self, up: bool, payload: bytes) -> None:
        """`payload` passes in segments of at most 1,460 bytes."""
        if not self._open:
            return
        sender, peer = self._sides(up)
        frames = []
        starts = range(0, len(payload), MSS)
        for number, start in enumerate(starts, 1):
            last = number == len(starts)
            flags = _ACK | _PSH if last else _ACK
            frames.append(sender.segment(flags, peer, payload[start : start + MSS]))
            if last or number % 2 == 0:
                frames.append(peer.segment(_ACK, sender))
        self._write(frames)

    def finish(self, up: bool) -> None:
        """One side has no more to send; the other acknowledges."""
        sender, peer = self._sides(up)
        if not self._open or sender.finished:
            return
        self._write([sender.segment(_FIN | _ACK, peer), peer.segment(_ACK, sender)])
        sender.finished = True
        self._open = not peer.finished

    def reset(self, up: bool) -> None:
        """One side tears the connection down."""
        if not self._open:
            return
        sender, peer = self._sides(up)
        self._write([sender.segment(_RST | _ACK, peer)])
        self._open = False

    def _sides(self, up: bool) -> tuple[_Side, _Side]:
        return (self._client, self._server) if up else (self._server, self._client)


class _Side:
    """Sequence state of one end of a TCP connection."""

    def __init__(self, own: Endpoint, peer: Endpoint) -> None:
        self._own, self._peer = own, peer
        # RFC 9293 3.4.1: initial sequence numbers follow a clock that ticks every 4 µs; the port tells apart.
        self._next = (time.time_ns() // 4000 + own.port * 65_521) & 0xFFFFFFFF
        self._identification = own.port
        self._ports = struct.pack(">HH", own.port, peer.port)
        self.finished = False

    def segment(self, flags: int, acked: _Side | None, payload: bytes = b"") -> bytes:
        """The next frame of this side; `acked` is the peer once something of it was seen."""
        options = _MSS_OPTION if flags & _SYN else b""
        acknowledged = acked._next if acked else 0
        fields = struct.pack(
            ">IIBBH",
            self._next,
            acknowledged,
            (20 + len(options)) // 4 << 4,
            flags,
            _WINDOW,
        )
        length = 20 + len(options) + len(payload)
        total = _pseudo_sum(self._own, self._peer, _TCP, length)
        total += _word_sum(self._ports) + _word_sum(fields) + _word_sum(options) + _word_sum(payload)
        advance = len(payload) + bool(flags & (_SYN | _FIN))
        self._next = (self._next + advance) & 0xFFFFFFFF
        self._identification = (self._identification + 1) & 0xFFFF
        return b"".join(
            (
                _ethernet_ipv4(self._own, self._peer, _TCP, length, self._identification),
                self._ports,
                fields,
                _fold(total).to_bytes(2, "big"),
                b"\0\0",
                options,
                payload,
            )
        )


def _ethernet_ipv4(source: Endpoint, target: Endpoint, protocol: int, length: int, identification: int) -> bytes:
    start = struct.pack(">BBHHHBB", 0x45, 0, 20 + length, identification, _DO_NOT_FRAGMENT, 64, protocol)
    addresses = source.address.packed + target.address.packed
    checksum = _fold(_word_sum(start) + _word_sum(addresses))
    return b"".join((target.mac, source.mac, _IPV4, start, checksum.to_bytes(2, "big"), addresses))


def _pseudo_sum(source: Endpoint, target: Endpoint, protocol: int, length: int) -> int:
    return _word_sum(source.address.packed + target.address.packed) + protocol + length


def _word_sum(data: bytes) -> int:
    """Sum of the big-endian 16-bit words of `data`, modulo 65,535.

    2¹⁶ is 1 modulo 65,535, so the whole buffer read as one number has the same remainder as the sum of its words:
    one division in C instead of a loop in Python.
    """
    number = int.from_bytes(data, "big")
    return (number << 8 if len(data) % 2 else number) % 0xFFFF


def _fold(total: int) -> int:
    """The one's complement of a one's complement sum that is not all zeros (no header is)."""
    return -total % 0xFFFF
