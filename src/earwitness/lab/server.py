"""The lab's process: every host of a world on loopback, one address for each profile.

Run as `python -m earwitness.lab.server`. The first line of standard input is the configuration, each further line an
order, all JSON; each is answered by one line on standard output. When standard input ends, so does the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from earwitness.lab import prebid
from earwitness.lab.ad_server import AdServer
from earwitness.lab.browsing import Answer, Browsing, Hit, hit_of, redirect
from earwitness.lab.certificates import Authority
from earwitness.lab.device_services import answer_device
from earwitness.lab.exchanges import Exchanges, cross_origin
from earwitness.lab.faults import EMPTY, RESET, SLOW, Faults
from earwitness.lab.matching import Matching
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.sign_in import DETOUR, SESSION_COOKIES, SignIn
from earwitness.lab.sites import Sites
from earwitness.lab.truth import JOURNAL, Truth, now_us, read_journal
from earwitness.lab.voice import serve_voice
from earwitness.lab.world import World
from earwitness.lab.world_file import load_world
from earwitness.model.network import Enrolled

_SECRET_KINDS = frozenset({"sign_in", "token"})
_TOKEN_PATH = "/auth/O2/token"  # noqa: S105 (an address)


class Dispatcher:
    """Answers every HTTP/1.1 request of a world and writes it to the truth."""

    def __init__(
        self, world: World, truth: Truth, state: PlatformState, library: bytes, gateways: Mapping[str, str]
    ) -> None:
        self._world, self._truth, self._state = world, truth, state
        self._profiles = {address: profile for profile, address in gateways.items()}
        matching = Matching(world, truth, state)
        self._parts = (
            ads := AdServer(world, truth),
            Exchanges(world, truth, state, ads),
            matching,
            Sites(world, matching, library),
            SignIn(world, state),
        )
        self._faults = Faults(world, state)
        self._browsing: dict[str, Browsing] = {}
        self._device_hosts = {*world.platform.device_hosts.values()}

    def application(self) -> web.Application:
        """The application that serves every address."""
        application = web.Application(client_max_size=16 << 20)
        application.router.add_route("*", "/{rest:.*}", self._handle)
        return application

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        at = now_us()
        body = await request.read()
        assert request.transport is not None
        profile = self._profiles[request.transport.get_extra_info("sockname")[0]]
        browsing = self._browsing.setdefault(profile, Browsing())
        hit = hit_of(request, body, profile, browsing)
        if not self._device_kind(hit) and request.scheme == "https":
            hit = replace(hit, fault=self._faults.of(hit))
        answer = await self._answer(request, hit)
        if hit.fault not in (None, SLOW):
            answer = Answer(answer.kind, _failed(hit, answer.response))
        self._log(at, hit, answer)
        if hit.fault == SLOW and self._world.faults:
            await asyncio.sleep(self._world.faults.slow_s)
        if hit.fault == RESET:
            _reset(request.transport)
        return answer.response

    async def _answer(self, request: web.Request, hit: Hit) -> Answer:
        if kind := self._device_kind(hit):
            response = await answer_device(request, hit.profile, hit.body, self._world, self._truth, self._state)
            return Answer(kind, response)
        if hit.host not in self._world.hosts:
            return Answer("unknown", web.Response(status=404))
        if request.scheme == "http":
            return Answer("redirect", redirect(f"https://{hit.host}{request.raw_path}", status=301))
        if hit.method == "OPTIONS":
            return Answer("preflight", _preflight(request, hit))
        if hit.path == "/favicon.ico":
            return Answer("favicon", web.Response(status=404))
        for part in self._parts:
            if answer := part.answer(hit):
                return answer
        return Answer("unknown", web.Response(status=404))

    def _device_kind(self, hit: Hit) -> str | None:
        """The kind of a request that only speakers make; None for all others."""
        if hit.host in self._device_hosts:
            return "device"
        if hit.host in self._world.stream_hosts:
            return "stream"
        if (hit.host, hit.path) == (self._world.platform.token_host, _TOKEN_PATH):
            return "token"
        return None

    def _log(self, at: int, hit: Hit, answer: Answer) -> None:
        secret = answer.kind in _SECRET_KINDS
        set_cookies = answer.response.headers.getall("Set-Cookie", [])
        self._truth.write(
            "truth_requests",
            at=at,
            profile=hit.profile,
            visit_site=hit.browsing.site,
            host=hit.host,
            method=hit.method,
            url=hit.url.partition("?")[0] if secret and hit.path == DETOUR else hit.url,
            status=None if hit.fault == RESET else answer.response.status,
            cookie_header="; ".join(f"{name}={_shown(name, value)}" for name, value in hit.cookies.items()) or None,
            set_cookie=[_shown_line(line) for line in set_cookies],
            body_sha256=hashlib.sha256(hit.body).hexdigest() if hit.body and not secret else None,
            kind=answer.kind,
        )


def _shown(name: str, value: str) -> str:
    """A cookie's value as the truth may hold it: those that sign a person in only as a short hash."""
    if name in SESSION_COOKIES:
        return "~" + hashlib.sha256(value.encode()).hexdigest()[:12]
    return value


def _shown_line(line: str) -> str:
    name, _, rest = line.partition("=")
    value, separator, attributes = rest.partition(";")
    return f"{name}={_shown(name, value)}{separator}{attributes}"


def _failed(hit: Hit, instead_of: web.StreamResponse) -> web.Response:
    """What is sent in place of an answer."""
    if hit.fault == EMPTY:
        return web.Response(content_type=instead_of.content_type, headers=cross_origin(hit))
    return web.Response(status=503, headers=cross_origin(hit))


def _reset(transport: asyncio.Transport) -> None:
    """Break the connection off, as a host that crashes does."""
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def _preflight(request: web.Request, hit: Hit) -> web.Response:
    headers = {
        "Access-Control-Allow-Origin": hit.origin or "*",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Methods": "GET, POST",
        "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "*"),
    }
    return web.Response(status=204, headers=headers)


def _listen(addresses: Sequence[str]) -> tuple[int, list[socket.socket]]:
    """One free port, the same on every address, and the sockets that listen there."""
    for _ in range(50):
        sockets: list[socket.socket] = []
        port = 0
        try:
            for address in addresses:
                listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                sockets.append(listener)
                listener.bind((address, port))
                listener.listen(512)
                listener.setblocking(False)
                port = listener.getsockname()[1]
        except OSError:
            for listener in sockets:
                listener.close()
            continue
        return port, sockets
    raise OSError(f"no port is free on all of {addresses[0]} … {addresses[-1]}")


def _note_owners(world: World, truth: Truth) -> None:
    """Write down who owns what, as far as no earlier session has."""
    entries = read_journal(truth.directory / JOURNAL)
    noted = {entry["row"]["host"] for entry in entries if entry["table"] == "truth_owners"}
    for host, key in world.hosts.items():
        if host not in noted:
            truth.write("truth_owners", host=host, organisation=world.organisations[key].name)


async def _run(config: Mapping[str, Any], orders: asyncio.StreamReader) -> None:
    world = load_world(config["world"], config["seed"])
    enrolled = [Enrolled(**each) for each in config["enrolled"]]
    gateways: dict[str, str] = config["gateways"]
    authority = Authority(Path(config["truth_dir"]))
    truth = Truth(Path(config["truth_dir"]))
    state = PlatformState(world, truth, enrolled)
    _note_owners(world, truth)
    library = prebid.bundle(Path(config["prebid"]), world.exchanges)
    dispatcher = Dispatcher(world, truth, state, library, gateways)
    addresses = list(gateways.values())
    voice_host = world.platform.voice_service
    async with AsyncExitStack() as stack:
        stack.callback(truth.close)
        stack.callback(state.close)
        https_port, https = _listen(addresses)
        http_port, http = _listen(addresses)
        h2_port, h2 = _listen(addresses)
        web_tls = authority.server_context(world.hosts.keys() - {voice_host}, "http/1.1")
        runner = web.AppRunner(dispatcher.application(), access_log=None, keepalive_timeout=300, shutdown_timeout=0.5)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        for listener in https:
            await web.SockSite(runner, listener, ssl_context=web_tls).start()
        for listener in http:
            await web.SockSite(runner, listener).start()
        listeners = dict(zip(gateways, h2, strict=True))
        voice = await serve_voice(world, truth, state, listeners, authority.server_context([voice_host], "h2"))
        stack.push_async_callback(voice.close)
        _say({"https_port": https_port, "http_port": http_port, "h2_port": h2_port, "ca_spki": authority.spki})
        await _obey(orders, state, set(gateways))


async def _obey(orders: asyncio.StreamReader, state: PlatformState, profiles: set[str]) -> None:
    """Take orders until told to stop; when whoever gives them is gone, end at once."""
    while line := await orders.readline():
        order = json.loads(line)
        if order["do"] == "stop":
            return
        if order["profile"] not in profiles:
            _say({"error": f"no profile {order['profile']!r} is enrolled"})
            continue
        state.announce(order["profile"], order["phase"], order["iteration"])
        _say({"done": "announce"})
    # Nobody is left to answer to, and the journals are already written.
    os._exit(1)


def _say(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=16 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin.buffer)
    config = await orders.readline()
    if config:
        await _run(json.loads(config), orders)


if __name__ == "__main__":
    asyncio.run(_main())
