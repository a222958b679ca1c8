"""The userspace router: a device's only way to a simulated internet, recording everything that passes.

Real sockets on the loopback, no privileges. A device's link asks the router's resolver over UDP and reaches
servers through its listener by SOCKS5 (RFC 1928, CONNECT without authentication); the router relays the bytes
untouched, so TLS runs end to end. The capture shows what a tap at the device would have seen: the device's and
the servers' simulated addresses, never the loopback and never SOCKS.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import Iterator, Sequence
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from types import TracebackType
from typing import cast

from earwitness.capture.destinations import Destinations, address_query, ask, reset, router_address, send
from earwitness.capture.pcap_writer import (
    Endpoint,
    PcapWriter,
    TcpConversation,
    parse_mac,
    udp_frame,
)
from earwitness.model.network import DeviceLink, Internet

_LOOPBACK = "127.0.0.1"
_ROUTER_MAC = parse_mac("02:00:00:00:00:01")
_DNS_PORT = 53
_CHUNK = 65_536
_CONNECT_WAIT_S = 10.0
# Streams that their device has closed need a moment until their last bytes are through.
_LAST_BYTES_WAIT_S = 0.25

_SOCKS_GREETING = b"\x05\x01\x00"  # version 5, one method: no authentication
_SOCKS_CHOSEN = b"\x05\x00"
_SUCCEEDED, _UNREACHABLE, _REFUSED = 0, 4, 5


class Router:
    """Routes the devices of one profile to `internet` and writes what passes to `pcap`.

    An asynchronous context manager. On exit open connections are closed in order, and an error that kept a
    packet from being written (a full disk) is raised.

    Raises:
        KeyError: `internet` has no gateway for `profile`.
        OSError: the capture cannot be written.
    """

    dropped = 0  # nothing passes unrecorded

    def __init__(self, pcap: Path, internet: Internet, profile: str) -> None:
        self._path = pcap
        self._destinations = Destinations(internet, profile)
        # Which device speaks from which loopback port: nobody else on this machine is served.
        self._claims: dict[int, Endpoint] = {}
        self._relays: dict[asyncio.Task[None], TcpConversation] = {}
        self._failure: OSError | None = None

    async def __aenter__(self) -> Router:
        loop = asyncio.get_running_loop()
        self._pcap = PcapWriter(self._path)
        try:
            self._resolver, _ = await loop.create_datagram_endpoint(lambda: _Resolver(self), local_addr=(_LOOPBACK, 0))
            self._dns_address: tuple[str, int] = self._resolver.get_extra_info("sockname")
            self._listener = await asyncio.start_server(self._serve, _LOOPBACK, 0)
            self._tcp_address: tuple[str, int] = self._listener.sockets[0].getsockname()
        except BaseException:
            self._pcap.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
        self._resolver.close()
        if self._relays:
            await asyncio.wait(self._relays, timeout=_LAST_BYTES_WAIT_S)
        relays = dict(self._relays)
        with contextlib.suppress(ConnectionAbortedError):  # kept in _failure
            for conversation in relays.values():
                conversation.finish(up=True)
                conversation.finish(up=False)
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        try:
            self._pcap.close()
        except OSError as unwritten:
            self._failure = self._failure or unwritten
        if self._failure and error is None:
            raise self._failure

    def attach(self, mac: str, ip: str) -> DeviceLink:
        """Plug a device in under its hardware address and its IPv4 address on the audited network.

        Raises:
            ValueError: `mac` or `ip` is not an address.
        """
        return _Link(self, parse_mac(mac), IPv4Address(ip))

    def _answer_dns(self, wire: bytes, client_port: int) -> bytes | None:
        """The answer to one query of a device, both recorded; None where no device asked anything."""
        client = self._claims.get(client_port)
        if client is None:
            return None
        if (answer := self._destinations.answer(wire)) is None:
            return None
        identification, answered = answer
        resolver = Endpoint(_ROUTER_MAC, router_address(client.address), _DNS_PORT)
        with contextlib.suppress(ConnectionAbortedError):  # kept in _failure
            self._record([udp_frame(client, resolver, wire, identification)])
            self._record([udp_frame(resolver, client, answered, identification)])
        return answered

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a device, from SOCKS to its end."""
        task = asyncio.current_task()
        _, client_port = writer.get_extra_info("peername") or ("", 0)  # none when it has gone already
        client = self._claims.get(client_port)
        try:
            if client is not None and task is not None:
                address, port = await _read_socks_request(reader, writer)
                server = Endpoint(_ROUTER_MAC, address, port)
                conversation = TcpConversation(self._record, client, server)
                self._relays[task] = conversation
                await self._relay(conversation, server, reader, writer)
        except (OSError, EOFError, ValueError):
            pass  # gone, or not speaking SOCKS5; a recording that failed is kept in _failure
        finally:
            if task is not None:
                self._relays.pop(task, None)
            writer.close()

    async def _relay(
        self,
        conversation: TcpConversation,
        server: Endpoint,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        conversation.syn()
        address = str(server.address)
        if address not in self._destinations.addresses:
            # Nobody is there to refuse: the capture shows a request for a connection without an answer.
            await send(writer, _socks_reply(_UNREACHABLE))
            return
        try:
            if (port := self._destinations.port_behind(address, server.port)) is None:
                raise ConnectionRefusedError
            upstream = asyncio.open_connection(self._destinations.gateway, port)
            server_reader, server_writer = await asyncio.wait_for(upstream, _CONNECT_WAIT_S)
        except OSError:  # a time-out is one, too
            conversation.refuse()
            await send(writer, _socks_reply(_REFUSED))
            return
        try:
            conversation.accept()
            await send(writer, _socks_reply(_SUCCEEDED))
            async with asyncio.TaskGroup() as directions:
                directions.create_task(_pump(conversation, True, reader, writer, server_writer))
                directions.create_task(_pump(conversation, False, server_reader, server_writer, writer))
        except* ConnectionAbortedError:
            pass  # kept in _failure; the other direction was cancelled
        finally:
            server_writer.close()
            conversation.reset(up=True)  # writes nothing where the conversation has ended

    def _record(self, frames: Sequence[bytes]) -> None:
        """Write packets.

        Raises:
            ConnectionAbortedError: they cannot be written. What is not recorded must not pass either; the cause is
                kept for the exit.
        """
        try:
            self._pcap.write(frames)
        except OSError as error:
            self._failure = self._failure or error
            raise ConnectionAbortedError("the capture cannot be written") from error


class _Link:
    """A device plugged into a router; see `earwitness.model.network.DeviceLink`."""

    def __init__(self, router: Router, mac: bytes, address: IPv4Address) -> None:
        self._router, self._mac, self._address = router, mac, address
        # Counted up, so that no port comes twice in a capture and two flows never look like one.
        self._ports = itertools.cycle(range(32_768, 61_000))

    async def resolve(self, name: str) -> list[str]:
        if (query := address_query(name)) is None:
            return []  # what cannot be asked does not exist
        with self._claimed(socket.SOCK_DGRAM) as own, own:
            return await ask(own, query, self._router._dns_address)

    async def connect(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            request = _socks_request(IPv4Address(address), port)
        except (AddressValueError, struct.error) as error:
            raise ConnectionError(f"{address!r}:{port} is no address of this network") from error
        with self._claimed(socket.SOCK_STREAM) as own:
            # asyncio does so for the sockets that it makes; without, each small write waits 40 ms for an ACK.
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(own, self._router._tcp_address)
            reader, writer = await asyncio.open_connection(sock=own)
            try:
                await send(writer, _SOCKS_GREETING)
                if await reader.readexactly(2) != _SOCKS_CHOSEN:
                    raise ConnectionError("the router does not speak SOCKS5")
                await send(writer, request)
                status = (await reader.readexactly(10))[1]
            except BaseException as error:
                writer.close()
                if isinstance(error, EOFError):
                    raise ConnectionResetError("the router closed the connection") from error
                raise
        if status == _SUCCEEDED:
            return reader, writer
        writer.close()
        if status == _REFUSED:
            raise ConnectionRefusedError(f"{address}:{port} refused the connection")
        raise ConnectionError(f"{address}:{port} does not answer")

    @contextlib.contextmanager
    def _claimed(self, kind: socket.SocketKind) -> Iterator[socket.socket]:
        """A loopback socket whose traffic the router takes for this device's while the block runs.

        The router reads the claim when a packet or connection arrives, which is inside the block. The socket is
        closed when the block fails.
        """
        own = socket.socket(socket.AF_INET, kind)
        try:
            own.setblocking(False)
            own.bind((_LOOPBACK, 0))
            port = own.getsockname()[1]
            self._router._claims[port] = Endpoint(self._mac, self._address, next(self._ports))
            try:
                yield own
            finally:
                del self._router._claims[port]
        except BaseException:
            own.close()
            raise


class _Resolver(asyncio.DatagramProtocol):
    """The router's DNS listener."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if answer := self._router._answer_dns(data, addr[1]):
            self._transport.sendto(answer, addr)


async def _pump(
    conversation: TcpConversation,
    up: bool,
    source: asyncio.StreamReader,
    source_writer: asyncio.StreamWriter,
    sink: asyncio.StreamWriter,
) -> None:
    """Carry one direction until it ends, at the speed of its receiver.

    A reset of either side is passed on as one.
    """
    while True:
        try:
            chunk = await source.read(_CHUNK)
        except OSError:
            conversation.reset(up)
            reset(sink)
            return
        if not chunk:
            conversation.finish(up)
            sink.write_eof()
            return
        conversation.data(up, chunk)
        try:
            await send(sink, chunk)
        except OSError:
            conversation.reset(not up)
            reset(source_writer)
            return


async def _read_socks_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[IPv4Address, int]:
    """The address and port that a client asks for.

    Raises:
        ValueError: anything but CONNECT to an IPv4 address without authentication.
        EOFError, OSError: the client went away.
    """
    if await reader.readexactly(len(_SOCKS_GREETING)) != _SOCKS_GREETING:
        raise ValueError("expected SOCKS5 without authentication")
    await send(writer, _SOCKS_CHOSEN)
    version, command, _, kind, address, port = struct.unpack(">BBBB4sH", await reader.readexactly(10))
    if (version, command, kind) != (5, 1, 1):
        raise ValueError("expected CONNECT to an IPv4 address")
    return IPv4Address(address), port


def _socks_request(address: IPv4Address, port: int) -> bytes:
    return struct.pack(">BBBB4sH", 5, 1, 0, 1, address.packed, port)


def _socks_reply(status: int) -> bytes:
    return struct.pack(">BBBB4sH", 5, status, 0, 1, b"\0\0\0\0", 0)
