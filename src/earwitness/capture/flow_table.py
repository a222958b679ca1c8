"""Rows of the `flows` and `dns_answers` tables out of the kernel's arrays and the names found."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from earwitness.capture.devices import Traffic
from earwitness.capture.host_names import SOURCES
from earwitness.capture.jit import Ints
from earwitness.capture.kernel import (
    A_HIGH,
    A_LOW,
    B_HIGH,
    B_LOW,
    BYTES_AB,
    FIRST,
    FIRST_PACKET,
    FIRST_SIDE,
    KEY,
    LAST,
    MAC_A,
    MAC_FROM_RECEIVED,
    PACKETS_AB,
    SYN_SIDE,
)
from earwitness.capture.naming import Answer, DnsLookup, NameCollector
from earwitness.model.identity import row_id
from earwitness.model.tables import TABLES

Flags = npt.NDArray[np.bool_]
_PROTOCOLS = {6: "tcp", 17: "udp"}


@dataclass(frozen=True)
class Side:
    """One end of a flow: hardware address if known, address, port; `private` where the address is not public."""

    mac: str | None
    ip: str
    packed: bytes
    port: int
    private: bool

    @property
    def is_public(self) -> bool:
        """Whether it is somewhere on the internet: neither private nor a group or broadcast address."""
        first = self.packed[0]
        group = first >= 224 if len(self.packed) == 4 else first == 0xFF
        return not self.private and not group


_DNS_PORT = 53


class FlowTable:
    """The flows of one capture, read once the kernel has seen every packet.

    `client_side` tells for each flow which side is the client (0: A, 1: B).
    """

    def __init__(self, sha256: str, flows: Ints, names: NameCollector) -> None:
        self._sha256, self._flows, self._names = sha256, flows, names
        self._private = [_private(flows, side) for side in (0, 1)]
        self.client_side = _client_side(flows, *self._private)
        self.sides = [self._ends(row) for row in range(len(flows))]
        self._rows = self._named_rows()

    def ends(self, flow: int) -> tuple[Side, Side]:
        """Client and server of a flow."""
        side = int(self.client_side[flow])
        return self.sides[flow][side], self.sides[flow][1 - side]

    def traffic(self) -> Iterator[Traffic]:
        """What each flow says of its client."""
        for flow, values in enumerate(self._flows.tolist()):
            client, _ = self.ends(flow)
            up = int(self.client_side[flow])
            yield Traffic(
                client.mac,
                client.ip,
                client.private,
                values[PACKETS_AB] + values[PACKETS_AB + 1],
                values[BYTES_AB + up],
                values[BYTES_AB + 1 - up],
            )

    def unnamed(self) -> tuple[int, int, int]:
        """Flows without a name: how many, their bytes, and how many of them go to a public address.

        Questions to a name server do not count: what they say is read, not missed.
        """
        rows = [n for n, row in enumerate(self._rows) if row["host"] is None and row["server_port"] != _DNS_PORT]
        sizes = self._flows[rows, BYTES_AB] + self._flows[rows, BYTES_AB + 1]
        return len(rows), int(sizes.sum()), sum(self.ends(number)[1].is_public for number in rows)

    def flows(self) -> pa.Table:
        """The table `flows`; profile, interaction and step are left to the study."""
        return TABLES["flows"].arrow(self._rows)

    def dns_answers(self) -> pa.Table:
        """The table `dns_answers`, in the order of the capture."""
        return TABLES["dns_answers"].arrow(
            {
                "capture": self._sha256,
                "client_ip": self.sides[answer.flow][answer.side].ip,
                "name": answer.name,
                "address": address_text(answer.address),
                "ttl": answer.ttl,
                "seen_at": answer.at,
                "evidence": self._sha256,
                "locator": f"packet {answer.packet}",
            }
            for answer in self._names.answers
        )

    def _ends(self, flow: int) -> tuple[Side, Side]:
        row = self._flows[flow].tolist()
        key = row[KEY]
        sides = []
        for side, (high, low) in enumerate(((A_HIGH, A_LOW), (B_HIGH, B_LOW))):
            packed = _packed(row[high], row[low], bool(key >> 40))
            port = key >> (24 if side == 0 else 8) & 0xFFFF
            mac = _mac(row[MAC_A + side])
            sides.append(Side(mac, address_text(packed), packed, port, bool(self._private[side][flow])))
        return sides[0], sides[1]

    def _named_rows(self) -> list[dict[str, object]]:
        lookup = DnsLookup(self._names.answers, self._answered_ip, self._answered_mac)
        rows = []
        for number, values in enumerate(self._flows.tolist()):
            client, server = self.ends(number)
            up = int(self.client_side[number])
            candidates = list(self._names.names.get(number, ()))
            asked = lookup.name(client.ip, client.mac, server.packed, values[FIRST], values[FIRST_PACKET])
            if asked is not None:
                candidates.append(("dns", asked))
            candidates.sort(key=lambda candidate: SOURCES.index(candidate[0]))
            source, host = candidates[0] if candidates else (None, None)
            protocol = _PROTOCOLS[values[KEY] & 0xFF]
            rows.append(
                {
                    "flow": row_id(self._sha256, protocol, client.ip, client.port, server.ip, server.port),
                    "capture": self._sha256,
                    "protocol": protocol,
                    "client_mac": client.mac,
                    "client_ip": client.ip,
                    "client_port": client.port,
                    "server_ip": server.ip,
                    "server_port": server.port,
                    "first_seen": values[FIRST],
                    "last_seen": values[LAST],
                    "packets_up": values[PACKETS_AB + up],
                    "packets_down": values[PACKETS_AB + 1 - up],
                    "bytes_up": values[BYTES_AB + up],
                    "bytes_down": values[BYTES_AB + 1 - up],
                    "host": host,
                    "host_source": source,
                    "candidates": [f"{name_source}={name}" for name_source, name in candidates],
                    "evidence": self._sha256,
                    "locator": f"packet {values[FIRST_PACKET]}",
                }
            )
        return rows

    def _answered_ip(self, answer: Answer) -> str:
        return self.sides[answer.flow][answer.side].ip

    def _answered_mac(self, answer: Answer) -> str | None:
        return self.sides[answer.flow][answer.side].mac


@lru_cache(maxsize=65536)
def address_text(packed: bytes) -> str:
    """A packed address (4 or 16 bytes) as people write it."""
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)


def _packed(high: int, low: int, is_ipv6: bool) -> bytes:
    if is_ipv6:
        return (high & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big") + (low & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "big")
    return low.to_bytes(4, "big")


def _mac(value: int) -> str | None:
    """A hardware address; None where it is unknown, all zeros (loopback) or addresses a group."""
    octets = (value & (MAC_FROM_RECEIVED - 1)).to_bytes(6, "big")
    if value <= 0 or octets[0] & 1 or not any(octets):
        return None
    return octets.hex(":")


def _private(flows: Ints, side: int) -> Flags:
    """Whether a side's address is private: RFC 1918, RFC 4193, link-local or loopback."""
    high, low = (A_HIGH, A_LOW) if side == 0 else (B_HIGH, B_LOW)
    first = flows[:, low]
    ipv4 = (
        (first >> 24 == 10)
        | (first >> 20 == 0xAC1)
        | (first >> 16 == 0xC0A8)
        | (first >> 16 == 0xA9FE)
        | (first >> 24 == 127)
    )
    prefix = flows[:, high] >> 48 & 0xFFFF
    ipv6 = (prefix & 0xFFC0 == 0xFE80) | (prefix & 0xFE00 == 0xFC00) | ((flows[:, high] == 0) & (flows[:, low] == 1))
    result: Flags = np.where(flows[:, KEY] >> 40 != 0, ipv6, ipv4)
    return result


def _client_side(flows: Ints, private_a: Flags, private_b: Flags) -> npt.NDArray[np.int64]:
    """0 where A is the client, 1 where B is.

    The sender of the SYN, else the private side if only one is, else the higher port, else who spoke first.
    """
    port_a, port_b = flows[:, KEY] >> 24 & 0xFFFF, flows[:, KEY] >> 8 & 0xFFFF
    syn = flows[:, SYN_SIDE]
    side = np.where(port_a > port_b, 0, np.where(port_b > port_a, 1, flows[:, FIRST_SIDE]))
    side = np.where(private_a & ~private_b, 0, np.where(private_b & ~private_a, 1, side))
    result: npt.NDArray[np.int64] = np.where(syn == 1, 0, np.where(syn == 2, 1, side))
    return result
