"""The router in network namespaces: each device a network stack of its own, captured by dumpcap at the router's side.

A device has its hardware address, its IPv4 address and the kernel's own TCP, joined by a veth pair to the bridge of a
router, which answers DNS and accepts connections to every address of the simulated internet. Accepted bytes are relayed
to the loopback gateway untouched, so TLS runs end to end. Rootless where the kernel allows user namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from types import TracebackType
from typing import cast

from earwitness.capture.destinations import Destinations, address_query, ask, reset, router_address, send
from earwitness.capture.namespace_sockets import CAPTURE_END, LARGEST_MESSAGE
from earwitness.capture.pcap_writer import parse_mac
from earwitness.model.network import DeviceLink, Internet

_PROGRAM = Path(__file__).with_name("namespace_sockets.py")
_CHUNK = 65_536
_DNS_PORT = 53
_MOST_DESCRIPTORS = 4
_SET_UP_WAIT_S = 10.0
_CONNECT_WAIT_S = 10.0
_LAST_BYTES_WAIT_S = 0.25
_LAST_PACKETS_WAIT_S, _LOOK_S = 5.0, 0.02
_DROPPED = re.compile(r"received/dropped on interface '[^']*': \d+/(\d+)")


class NamespaceRouter:
    """Routes the devices of one profile to `internet`; what passes is captured in `pcap` (pcapng, its owner's alone).

    An asynchronous context manager. On exit open connections are closed in order, the capture is complete up to the
    last packet, and `dropped` is the number of packets that passed without being captured.

    Raises:
        KeyError: `internet` has no gateway for `profile`.
        OSError: on entering, namespaces are not to be had here (its text says what was refused); on exit, the capture
            could not be written to its end.
    """

    def __init__(self, pcap: Path, internet: Internet, profile: str) -> None:
        self.dropped = 0
        self._path = pcap
        self._destinations = Destinations(internet, profile)
        self._relays: set[asyncio.Task[None]] = set()
        self._messages: int | None = None
        self._said = bytearray()  # what dumpcap told
        self._ended = asyncio.Event()  # dumpcap has
        self._leaving = False
        self._failure: OSError | None = None

    async def __aenter__(self) -> NamespaceRouter:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o600)
        os.fchmod(self._file, 0o600)  # the file may have been there already, with another mode
        try:
            self._inside = _Inside(self._file)
        except BaseException:
            os.close(self._file)
            raise
        try:
            _, descriptors = await self._inside.do({"do": "start", "addresses": sorted(self._destinations.addresses)})
            self._messages = messages = descriptors[0]
            names, secure, plain = (socket.socket(fileno=descriptor) for descriptor in descriptors[1:])
            loop = asyncio.get_running_loop()
            loop.add_reader(messages, self._hear, messages)
            self._resolver, _ = await loop.create_datagram_endpoint(
                lambda: _Resolver(self._destinations, self._alive), sock=names
            )
            self._listeners = [await asyncio.start_server(self._serve, sock=own) for own in (secure, plain)]
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for listener in self._listeners:
                listener.close()
            if self._relays:
                await asyncio.wait(self._relays, timeout=_LAST_BYTES_WAIT_S)
            for relay in self._relays:
                relay.cancel()
            await asyncio.gather(*self._relays, return_exceptions=True)
            self._resolver.close()
            await asyncio.sleep(_LOOK_S)  # what was closed says so to its device in the loop's next turn
            if not self._ended.is_set():
                await self._finish_capture()
        except OSError as lost:  # a time-out is one, too
            # dumpcap itself does not tell that its disk is full.
            full = os.fstatvfs(self._file).f_bavail == 0
            self._fail("no space left on its disk" if full else str(lost) or "dumpcap takes no more packets")
        finally:
            self._close()
        if self._failure and error is None:
            raise self._failure

    def attach(self, mac: str, ip: str) -> DeviceLink:
        """Plug a device in under its hardware address and its IPv4 address on the audited network.

        Raises:
            ValueError: `mac` or `ip` is not an address.
        """
        parse_mac(mac)
        return _Link(self._inside, self._alive, mac, IPv4Address(ip))

    def _close(self) -> None:
        self._leaving = True
        if self._messages is not None:
            asyncio.get_running_loop().remove_reader(self._messages)
            os.close(self._messages)
        self._inside.close()
        os.close(self._file)

    def _alive(self) -> bool:
        """Whether packets are captured: what is not recorded must not pass either."""
        return not self._ended.is_set() and not self._leaving

    def _hear(self, messages: int) -> None:
        said = os.read(messages, _CHUNK)
        self._said += said
        if said:
            return
        asyncio.get_running_loop().remove_reader(messages)
        self._ended.set()
        if not self._leaving:
            text = " ".join(self._said.decode(errors="replace").split())
            self._fail(f"dumpcap ended before its time: {text or 'killed'}")
            for relay in self._relays:
                relay.cancel()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or OSError(f"the capture is incomplete: {reason}")

    async def _finish_capture(self) -> None:
        """Wait until all that passed is in the file, and end dumpcap in order.

        The kernel hands packets over in blocks; those in the last would be lost with dumpcap. So a last frame is sent,
        and when it is in the file everything before it is.
        """
        begin = os.fstat(self._file).st_size
        await self._inside.do({"do": "mark"})
        async with asyncio.timeout(_LAST_PACKETS_WAIT_S):
            while CAPTURE_END not in os.pread(self._file, os.fstat(self._file).st_size - begin, begin):
                await asyncio.sleep(_LOOK_S)
        self._leaving = True
        await self._inside.do({"do": "stop"})
        async with asyncio.timeout(_LAST_PACKETS_WAIT_S):
            await self._ended.wait()
        if counts := _DROPPED.search(self._said.decode(errors="replace")):
            self.dropped = int(counts[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one accepted connection to its end."""
        task = asyncio.current_task()
        address, port = writer.get_extra_info("sockname") or ("", 0)
        behind = self._destinations.port_behind(address, port)
        if task is None or behind is None or not self._alive():
            reset(writer)
            return
        self._relays.add(task)
        try:
            upstream = asyncio.open_connection(self._destinations.gateway, behind)
            server_reader, server_writer = await asyncio.wait_for(upstream, _CONNECT_WAIT_S)
        except OSError:  # a time-out is one, too
            reset(writer)
            self._relays.discard(task)
            return
        try:
            await asyncio.gather(_pump(reader, writer, server_writer), _pump(server_reader, server_writer, writer))
        finally:
            self._relays.discard(task)
            server_writer.close()
            writer.close()


class _Inside:
    """The program in the namespaces; see `namespace_sockets`."""

    def __init__(self, capture: int) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_SET_UP_WAIT_S)
        self._turn = threading.Lock()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(_PROGRAM), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=capture,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    # It dies with the thread that starts it, which is the event loop's.
                    start_new_session=True,  # Ctrl-C is for the router, which ends it in order
                )
            except BaseException:
                self._control.close()
                raise

    async def do(self, request: dict[str, object]) -> tuple[dict[str, object], list[int]]:
        """The answer to a message, and the descriptors that come with it.

        Raises:
            OSError: what was asked for is refused, or the program is gone.
        """
        exchange = asyncio.ensure_future(asyncio.to_thread(self._exchange, json.dumps(request).encode()))
        try:
            answer, descriptors = await asyncio.shield(exchange)
        except asyncio.CancelledError:
            exchange.add_done_callback(_discard)
            raise
        if "error" in answer:
            raise OSError(answer["error"])
        return answer, descriptors

    def close(self) -> None:
        """End the program, everything in its namespaces, and wait until it is gone."""
        with contextlib.suppress(OSError):  # it has ended already
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        try:
            self._process.wait(_SET_UP_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _exchange(self, message: bytes) -> tuple[dict[str, object], list[int]]:
        with self._turn:
            try:
                self._control.send(message)
                answer, descriptors, _, _ = socket.recv_fds(self._control, LARGEST_MESSAGE, _MOST_DESCRIPTORS)
            except TimeoutError:
                self._control.shutdown(socket.SHUT_RDWR)  # a late answer must not be taken for that to another message
                raise
        if not answer:
            raise ConnectionError("the program in the namespaces has ended")
        return json.loads(answer), descriptors


def _discard(exchange: asyncio.Future[tuple[dict[str, object], list[int]]]) -> None:
    """Close what came for a task that was cancelled meanwhile."""
    if not exchange.cancelled() and exchange.exception() is None:
        for descriptor in exchange.result()[1]:
            os.close(descriptor)


class _Link:
    """A device in its own namespace, plugged in at its first use; see `earwitness.model.network.DeviceLink`."""

    def __init__(self, inside: _Inside, alive: Callable[[], bool], mac: str, address: IPv4Address) -> None:
        self._inside, self._alive = inside, alive
        self._mac, self._address = mac, address
        self._router = str(router_address(address))
        self._plugged: asyncio.Task[object] | None = None

    async def resolve(self, name: str) -> list[str]:
        if (query := address_query(name)) is None:
            return []  # what cannot be asked does not exist
        with await self._socket("udp") as own:
            return await ask(own, query, (self._router, _DNS_PORT))

    async def connect(self, address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            target = (str(IPv4Address(address)), port)
        except AddressValueError as error:
            raise ConnectionError(f"{address!r}:{port} is no address of this network") from error
        own = await self._socket("tcp")
        try:
            # asyncio does so for the sockets that it makes; without, each small write waits 40 ms for an ACK.
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(_CONNECT_WAIT_S):
                await asyncio.get_running_loop().sock_connect(own, target)
            return await asyncio.open_connection(sock=own)
        except OverflowError as error:
            own.close()
            raise ConnectionError(f"{address}:{port} is no address of this network") from error
        except ConnectionError:
            own.close()
            raise
        except OSError as error:  # no route, or no answer in time
            own.close()
            raise ConnectionError(f"{address}:{port} does not answer") from error
        except BaseException:
            own.close()
            raise

    async def _socket(self, kind: str) -> socket.socket:
        """A non-blocking socket in the device's namespace.

        Raises:
            ConnectionError: the router captures no more, or refuses the device.
        """
        if not self._alive():
            raise ConnectionError("the router has ended")
        if self._plugged is None:
            self._plugged = asyncio.ensure_future(self._plug())
        try:
            device = await asyncio.shield(self._plugged)
            _, (descriptor,) = await self._inside.do({"do": "socket", "device": device, "kind": kind})
        except OSError as error:
            raise ConnectionError(str(error)) from error
        own = socket.socket(fileno=descriptor)
        own.setblocking(False)
        return own

    async def _plug(self) -> object:
        request = {"do": "plug", "mac": self._mac, "ip": str(self._address), "router_ip": self._router}
        answer, _ = await self._inside.do(dict(request))
        return answer["device"]


class _Resolver(asyncio.DatagramProtocol):
    """The router's DNS server."""

    def __init__(self, destinations: Destinations, alive: Callable[[], bool]) -> None:
        self._destinations, self._alive = destinations, alive

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._alive() and (answer := self._destinations.answer(data)):
            self._transport.sendto(answer[1], addr)


async def _pump(source: asyncio.StreamReader, source_writer: asyncio.StreamWriter, sink: asyncio.StreamWriter) -> None:
    """Carry one direction until it ends, at the speed of its receiver; a reset of either side is passed on as one."""
    while True:
        try:
            chunk = await source.read(_CHUNK)
        except OSError:
            reset(sink)
            return
        try:
            if not chunk:
                sink.write_eof()
                return
            await send(sink, chunk)
        except OSError:
            reset(source_writer)
            return
