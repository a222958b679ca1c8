"""Names of flows: collected from excerpts while a capture is read, then put in order.

Best first: TLS server name (`sni`), QUIC server name (`quic_sni`), HTTP Host (`http_host`), the client's latest DNS
answer for the address (`dns`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

from earwitness.capture import dns, http, tls
from earwitness.capture.host_names import host_name, is_address, shown, without_port
from earwitness.capture.jit import Bytes, Ints
from earwitness.capture.kernel import (
    CONNECTION,
    DNS_DATAGRAM,
    DNS_STREAM,
    QUIC_DATAGRAM,
    READ,
    STREAM_WINDOW,
)
from earwitness.capture.quic import InitialReader
from earwitness.capture.streams import Stream

_MAX_STARTS = 8


@dataclass(frozen=True)
class Answer:
    """An address in a DNS answer: asked for by the side that `side` answers in `flow`; `at` in µs."""

    packet: int
    at: int
    flow: int
    side: int
    name: str
    address: bytes
    ttl: int


@dataclass
class BadNames:
    """Names from one source that are no valid host names: how many, and the first of them."""

    count: int
    packet: int
    example: str


class NameCollector:
    """Takes excerpts block by block; keeps, per flow, only what an unfinished name still needs.

    `names[flow]` lists (source, host name) in the order seen; `answers` every address from DNS; `bad` the names that
    did not pass, by source; `bad_dns` counts messages that are not DNS.
    """

    def __init__(self) -> None:
        self.names: dict[int, list[tuple[str, str]]] = {}
        self.answers: list[Answer] = []
        self.bad: dict[str, BadNames] = {}
        self.bad_dns = 0
        self._streams: dict[tuple[int, int], Stream] = {}
        self._starts: dict[tuple[int, int], list[int]] = {}
        self._initials: dict[int, InitialReader] = {}

    def read(self, buffer: Bytes, excerpts: Ints, flows: Ints) -> None:
        """Read the payloads that `excerpts` (columns of `kernel`) point to in `buffer`.

        Marks flows whose name is known, or cannot be, as READ.
        """
        for flow, side, kind, packet, at, start, length, offset, connection, anchored in excerpts.tolist():
            data = buffer[start : start + length].tobytes()
            if kind == DNS_DATAGRAM:
                self._dns(data, packet, at, flow, side)
            elif kind == DNS_STREAM:
                self._dns_stream(data, packet, at, flow, side, offset, connection, bool(anchored))
            elif flows[flow, READ] and flows[flow, CONNECTION] == connection:
                continue
            elif kind == QUIC_DATAGRAM:
                if self._quic(data, packet, flow):
                    flows[flow, READ] = 1
            elif self._stream(data, packet, flow, side, offset, connection, bool(anchored)):
                for either in (0, 1):
                    self._streams.pop((flow, either), None)
                    self._starts.pop((flow, either), None)
                if flows[flow, CONNECTION] == connection:
                    flows[flow, READ] = 1

    def _accept(self, flow: int, source: str, raw: bytes, packet: int) -> None:
        name = self._valid(source, raw, packet)
        if name is not None and (source, name) not in self.names.setdefault(flow, []):
            self.names[flow].append((source, name))

    def _valid(self, source: str, raw: bytes, packet: int) -> str | None:
        name = host_name(raw)
        if name is None and raw and not is_address(raw):
            self.bad.setdefault(source, BadNames(0, packet, shown(raw))).count += 1
        return name

    def _continue(self, data: bytes, flow: int, side: int, offset: int, connection: int, anchored: bool) -> Stream:
        stream = self._streams.get((flow, side))
        if stream is None or stream.connection != connection:
            stream = self._streams[flow, side] = Stream(connection)
            self._starts[flow, side] = [0] if anchored else []
        stream.add(offset, data)
        return stream

    def _stream(
        self, data: bytes, packet: int, flow: int, side: int, offset: int, connection: int, anchored: bool
    ) -> bool:
        """Whether the stream's name is known now, or cannot be."""
        stream = self._continue(data, flow, side, offset, connection, anchored)
        starts = self._starts[flow, side]
        if not anchored and len(starts) < _MAX_STARTS and offset not in starts and _begins_something(data):
            starts.append(offset)
        for start in starts:
            head = stream.since(start)
            if not head:
                continue
            if tls.begins_hello(head):
                name, finished = tls.server_name(tls.handshake(head))
                source = "sni"
            elif http.begins_request(head):
                name, finished = http.host(head)
                name = None if name is None else without_port(name)
                source = "http_host"
            else:
                name, finished, source = None, anchored, ""
            if name is not None:
                self._accept(flow, source, name, packet)
            if finished or len(head) >= STREAM_WINDOW:
                return True
        return len(stream) >= 2 * STREAM_WINDOW

    def _quic(self, datagram: bytes, packet: int, flow: int) -> bool:
        reader = self._initials.setdefault(flow, InitialReader())
        reader.add(datagram)
        if reader.name is not None:
            self._accept(flow, "quic_sni", reader.name, packet)
        if reader.finished:
            del self._initials[flow]
        return reader.finished

    def _dns(self, message: bytes, packet: int, at: int, flow: int, side: int) -> None:
        try:
            records = dns.read_response(message)
        except ValueError:
            self.bad_dns += 1
            return
        for record in records:
            name = self._valid("dns", record.name, packet)
            if name is not None:
                self.answers.append(Answer(packet, at, flow, 1 - side, name, record.address, record.ttl))

    def _dns_stream(
        self, data: bytes, packet: int, at: int, flow: int, side: int, offset: int, connection: int, anchored: bool
    ) -> None:
        stream = self._continue(data, flow, side, offset, connection, anchored)
        rest = stream.since(stream.consumed)
        begin = 0
        while len(rest) >= begin + 2:
            end = begin + 2 + int.from_bytes(rest[begin : begin + 2], "big")
            if len(rest) < end:
                break
            self._dns(rest[begin + 2 : end], packet, at, flow, side)
            begin = end
        stream.consumed += begin


def _begins_something(data: bytes) -> bool:
    return len(data) >= 6 and (tls.begins_hello(data) or http.begins_request(data))


class DnsLookup:
    """The latest answer that a client had for an address at a moment.

    A client is known by its address; where it asked over one version of IP and connects over another, or from
    another of its IPv6 addresses, by its hardware address.
    """

    def __init__(
        self,
        answers: list[Answer],
        client_ip: Callable[[Answer], str],
        client_mac: Callable[[Answer], str | None],
    ) -> None:
        # Keys: (client, whether only what was asked over IPv6 counts, packed address).
        self._moments: dict[tuple[str, bool, bytes], list[tuple[int, int]]] = {}
        self._names: dict[tuple[str, bool, bytes], list[str]] = {}
        for answer in sorted(answers, key=lambda answer: (answer.at, answer.packet)):
            ip, mac = client_ip(answer), client_mac(answer)
            keys = [(ip, False)]
            if mac is not None:
                keys += [(mac, False), (mac, True)] if ":" in ip else [(mac, False)]
            for client, over_ipv6 in keys:
                key = client, over_ipv6, answer.address
                self._moments.setdefault(key, []).append((answer.at, answer.packet))
                self._names.setdefault(key, []).append(answer.name)

    def name(self, client_ip: str, client_mac: str | None, address: bytes, at: int, packet: int) -> str | None:
        """The name of `address` to this client just before its packet number `packet` at `at` (µs)."""
        for key in ((client_ip, False, address), (client_mac or "", ":" not in client_ip, address)):
            earlier = bisect_left(self._moments.get(key, ()), (at, packet))
            if earlier:
                return self._names[key][earlier - 1]
        return None
