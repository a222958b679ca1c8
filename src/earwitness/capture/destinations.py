"""What both routers know of a simulated internet: names, the ports behind its addresses, and DNS on the wire."""

from __future__ import annotations

import asyncio
import socket
import struct
from ipaddress import IPv4Address

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from earwitness.model.network import Internet

_HTTP, _HTTPS = 80, 443
_TTL = 60
_DNS_WAIT_S, _DNS_TRIES = 2.0, 3


class Destinations:
    """The simulated internet as one profile's router reaches it.

    `gateway` is the loopback address behind every host; `addresses` are those at which a host answers.

    Raises:
        KeyError: `internet` has no gateway for `profile`.
    """

    def __init__(self, internet: Internet, profile: str) -> None:
        self.gateway = internet.gateways[profile]
        self.addresses = frozenset(internet.hosts.values())
        self._internet = internet
        self._of_names = {_key(host): address for host, address in internet.hosts.items()}
        self._h2_addresses = {internet.hosts[host] for host in internet.h2_hosts if host in internet.hosts}

    def port_behind(self, address: str, port: int) -> int | None:
        """The loopback port that stands for `port` of a simulated address; None where nothing listens."""
        if port == _HTTPS:
            return self._internet.h2_port if address in self._h2_addresses else self._internet.https_port
        return self._internet.http_port if port == _HTTP else None

    def answer(self, wire: bytes) -> tuple[int, bytes] | None:
        """The identifier of a DNS query and the answer to it; None where `wire` is no query."""
        try:
            query = dns.message.from_wire(wire)
            answer = dns.message.make_response(query, recursion_available=True)
        except dns.exception.DNSException:
            return None
        for question in query.question:
            address = self._of_names.get(question.name.to_text(omit_final_dot=True).lower())
            if address is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            elif question.rdtype == dns.rdatatype.A:
                answer.answer.append(dns.rrset.from_text(question.name, _TTL, "IN", "A", address))
        return query.id, answer.to_wire()


def address_query(name: str) -> dns.message.Message | None:
    """A DNS query for the IPv4 addresses of `name`; None where it is no name."""
    try:
        return dns.message.make_query(_key(name), dns.rdatatype.A)
    except (dns.exception.DNSException, UnicodeError):
        return None


async def ask(own: socket.socket, query: dns.message.Message, resolver: tuple[str, int]) -> list[str]:
    """The IPv4 addresses that `resolver` answers over the non-blocking datagram socket `own`.

    Raises:
        ConnectionError: it does not answer.
    """
    loop = asyncio.get_running_loop()
    for _ in range(_DNS_TRIES):
        await loop.sock_sendto(own, query.to_wire(), resolver)
        try:
            async with asyncio.timeout(_DNS_WAIT_S):
                wire = await loop.sock_recv(own, 4096)
        except TimeoutError:
            continue
        answer = dns.message.from_wire(wire)
        if query.is_response(answer):
            return [str(r) for s in answer.answer for r in s if r.rdtype == dns.rdatatype.A]
    raise ConnectionError(f"the router's resolver does not answer for {query.question[0].name}")


def router_address(device: IPv4Address) -> IPv4Address:
    """The router's own address: the first of the device's /24, the last where the device has the first."""
    first = (int(device) & ~0xFF) + 1
    return IPv4Address(first if int(device) != first else first + 253)


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write and wait for the receiver to keep up."""
    writer.write(data)
    await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with a reset."""
    own: socket.socket | None = writer.get_extra_info("socket")
    if own is not None and not writer.transport.is_closing():
        # To linger for zero seconds makes the kernel send a reset instead of a FIN.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _key(host: str) -> str:
    return host.lower().rstrip(".")
