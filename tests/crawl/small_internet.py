"""A handful of simulated companies on 127.0.0.1, which write down everything that they are asked."""

from __future__ import annotations

import asyncio
import base64
import datetime
import gzip
import hashlib
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from earwitness.model.network import Internet

NODE_MODULES = Path(__file__).parents[2] / "node_modules"
PIXEL = base64.b64decode("R0lGODlhAQABAPAAAP///wAAACH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==")
PASSWORD = "correct horse/battery+staple"
YEAR = "Max-Age=31536000"


@dataclass
class Asked:
    """One request as the server saw it, and what it answered."""

    at: float
    method: str
    url: str
    cookie: str | None
    referer: str | None
    set_cookie: list[str] = field(default_factory=list)
    status: int | None = None
    location: str | None = None
    body: str = ""


@dataclass
class SmallInternet:
    internet: Internet
    log: list[Asked] = field(default_factory=list)

    def asked(self, part: str) -> list[Asked]:
        return [entry for entry in self.log if part in entry.url]


Answer = tuple[int, str, bytes, list[tuple[str, str]]]


def quoted(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def html(body: str, *headers: tuple[str, str]) -> Answer:
    return 200, "text/html", f"<!doctype html><title>t</title>{body}".encode(), list(headers)


def script(body: str, *headers: tuple[str, str]) -> Answer:
    return 200, "text/javascript", body.encode(), list(headers)


def pixel(*headers: tuple[str, str]) -> Answer:
    return 200, "image/gif", PIXEL, list(headers)


def moved(to: str, *headers: tuple[str, str]) -> Answer:
    return 302, "text/plain", b"", [("Location", to), *headers]


def cookie(name: str, value: str, more: str = "") -> tuple[str, str]:
    return "Set-Cookie", f"{name}={value}; Path=/; Secure; SameSite=None; {YEAR}{more}"


NEWS = """
<img src="https://one.tracker-a.example/start.gif?from=news">
<iframe src="https://frames.tracker-b.example/frame.html" width=50 height=50></iframe>
<script>
document.cookie = 'by_script=s-' + 'abcdefgh; path=/; max-age=3600';
localStorage.setItem('kept', 'ls-0123456789');
fetch('https://api.tracker-c.example/collect', {method: 'POST', credentials: 'include',
  headers: {'X-Kind': 'view', 'Content-Type': 'application/json', 'Authorization': 'Bearer page-bearer-0123'},
  body: JSON.stringify({page: 'news', id: 'fp-42'})});
const w = new Worker('/worker.js');
navigator.serviceWorker.register('/sw.js');
</script>
"""
FRAME = """
<script>
localStorage.setItem('framed', 'ls-third-party');
document.cookie = 'chip=script-in-frame; path=/; secure; samesite=none; max-age=3600';
fetch('https://deep.tracker-d.example/deep.gif?x=1', {mode: 'no-cors', credentials: 'include'});
</script>
<iframe src="https://inner.tracker-e.example/inner.html"></iframe>
"""
BEACON = """
<img src="https://one.tracker-a.example/beacon.gif">
<script>
addEventListener('pagehide', () => {
  navigator.sendBeacon('https://bye.tracker-c.example/bye', 'x');
  fetch('https://bye.tracker-c.example/keep', {method: 'POST', keepalive: true, mode: 'no-cors'});
});
</script>
"""
BODIES = """<meta charset=utf-8><script>(async () => {
  const send = (path, body) => fetch('https://post.example/' + path, {method: 'POST', mode: 'no-cors', body});
  const packed = new Blob(['{"packed": "yes"}']).stream().pipeThrough(new CompressionStream('gzip'));
  await send('gzip', await new Response(packed).arrayBuffer());
  await send('blob', new Blob(['from a blob']));
  await send('big', 'b'.repeat(70000));
  await send('text', 'ä "quoted" <tag>');
})()</script>"""
CACHED = """
<link rel=stylesheet href="https://static.tracker-a.example/long.css">
<img src="https://static.tracker-a.example/long.gif">
<img src="https://static.tracker-a.example/check.gif">
<script src="https://static.tracker-a.example/moved.js"></script>
"""


SESSION = "133-7654321/abc+def=="
ROTATED = "244-rotated/session+value"
AT_MAIN = "Atza|at-main-0123456789"
AD_ID = "ad-id-visible-abcdef"


def platform_routes() -> dict[str, Callable[[web.Request, bytes], Answer]]:
    """A platform that people sign in to by a form, and its advertising company."""
    form = (
        "<form method=post action=/ap/signin><input name=email><input name=password type=password>"
        "<button>Sign in</button></form>"
    )
    session = "; Domain=.platform.example; Path=/; Secure; SameSite=None"

    def check(request: web.Request, body: bytes) -> Answer:
        if request.method == "GET":
            return html(form)
        wanted = {"email": "me@mailbox.example", "password": PASSWORD}
        if dict(urllib.parse.parse_qsl(body.decode())) != wanted:
            return 401, "text/html", form.encode(), []
        return moved(
            "https://web.platform-ads.example/set",
            ("Set-Cookie", f"session-id={SESSION}{session}; HttpOnly"),
            ("Set-Cookie", f"at-main={AT_MAIN}{session}; HttpOnly; {YEAR}"),
        )

    def members(request: web.Request, body: bytes) -> Answer:
        """Leaks the session in an address, escaped, and gives it a new value."""
        held = request.cookies.get("session-id", "none")
        return moved(
            f"https://two.tracker-b.example/leak?s={quoted(held)}",
            ("Set-Cookie", f"session-id={ROTATED}{session}; HttpOnly"),
        )

    return {
        "accounts.platform.example/ap/signin": check,
        "web.platform-ads.example/set": lambda r, b: moved(
            "https://accounts.platform.example/ap/home", cookie("ad-id", AD_ID, "; Domain=.platform-ads.example")
        ),
        "accounts.platform.example/ap/home": lambda r, b: html("<p id=signed-in>Hello</p>"),
        "accounts.platform.example/members.gif": members,
        "members.example/": lambda r, b: html(
            "<img src='https://accounts.platform.example/members.gif'>"
            "<img src='https://ads.platform-ads.example/ad.gif'>"
        ),
    }


def routes() -> dict[str, Callable[[web.Request, bytes], Answer]]:
    """URL without scheme and query -> what is answered."""
    return {
        "news.example/": lambda r, b: html(NEWS, ("Set-Cookie", "first=fp-1; Path=/; HttpOnly")),
        "news.example/worker.js": lambda r, b: script(
            "fetch('https://work.tracker-d.example/worker.gif', {mode: 'no-cors', credentials: 'include'})"
        ),
        "news.example/sw.js": lambda r, b: script(
            "self.addEventListener('install', () => self.skipWaiting());"
            "self.addEventListener('activate', e => e.waitUntil(self.clients.claim().then(() =>"
            " fetch('https://sw.tracker-d.example/sw.gif', {mode: 'no-cors', credentials: 'include'}))));"
        ),
        "one.tracker-a.example/start.gif": lambda r, b: moved(
            "https://two.tracker-b.example/match?a=ua-1", cookie("a", "ua-1"), cookie("a2", "ua-2")
        ),
        "two.tracker-b.example/match": lambda r, b: moved(
            "https://three.tracker-c.example/set?b=ub-1", cookie("b", "ub-1")
        ),
        "three.tracker-c.example/set": lambda r, b: pixel(
            cookie("c", "uc-1"), ("Set-Cookie", "lax=no; SameSite=Lax"), ("Set-Cookie", "bad=no; Domain=other.example")
        ),
        "frames.tracker-b.example/frame.html": lambda r, b: html(FRAME, cookie("fr", "f-1")),
        "inner.tracker-e.example/inner.html": lambda r, b: html(
            "<img src='https://px.tracker-e.example/i.gif'>", cookie("in", "i-1", "; Partitioned")
        ),
        "news.example/beacon": lambda r, b: html(BEACON),
        "news.example/cached": lambda r, b: html(CACHED),
        "static.tracker-a.example/long.css": lambda r, b: (
            200,
            "text/css",
            b"p{}",
            [("Cache-Control", "max-age=9999")],
        ),
        "static.tracker-a.example/long.gif": lambda r, b: pixel(("Cache-Control", "max-age=9999")),
        "static.tracker-a.example/check.gif": lambda r, b: (
            (304, "image/gif", b"", [("ETag", '"1"'), cookie("nm", "304")])
            if r.headers.get("If-None-Match")
            else pixel(("ETag", '"1"'), ("Cache-Control", "no-cache"))
        ),
        "static.tracker-a.example/moved.js": lambda r, b: (
            301,
            "text/plain",
            b"",
            [("Location", "https://static.tracker-a.example/now.js"), ("Cache-Control", "max-age=9999")],
        ),
        **platform_routes(),
        "plain.example/": lambda r, b: html("<img src=/p.gif><img src='https://one.tracker-a.example/x.gif'>"),
        "offline.example/": lambda r, b: html(
            "<script>navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(() =>"
            " new Promise(r => navigator.serviceWorker.controller ? r() :"
            " navigator.serviceWorker.addEventListener('controllerchange', r))).then(() =>"
            " Promise.all([fetch('/through?1'), fetch('/past?1'), fetch('/made?1')]))</script>"
        ),
        "offline.example/sw.js": lambda r, b: script(
            "self.addEventListener('install', e => self.skipWaiting());"
            "self.addEventListener('activate', e => e.waitUntil(clients.claim()));"
            "self.addEventListener('fetch', e => {"
            " if (e.request.url.includes('through')) e.respondWith(fetch(e.request));"
            " if (e.request.url.includes('made')) e.respondWith(new Response('made')); });"
        ),
        "rude.example/": lambda r, b: html(
            "<script>onbeforeunload = e => { e.preventDefault(); return 'stay'; };"
            "alert('a'); confirm('b'); prompt('c'); open('https://popup.example/');"
            "const a = document.createElement('a'); a.href = '/file.zip'; a.download = 'file.zip'; a.click();"
            "</script><iframe srcdoc=\"<img src='https://one.tracker-a.example/in-srcdoc.gif'>\"></iframe>"
        ),
        "rude.example/file.zip": lambda r, b: (200, "application/zip", b"PK", [("Content-Disposition", "attachment")]),
        "endless.example/": lambda r, b: html("<img src=/never.gif><img src='https://one.tracker-a.example/e.gif'>"),
        "endless.example/never.gif": lambda r, b: asyncio.sleep(30, pixel()),
        "stuck.example/": lambda r, b: html("<script>setTimeout(() => { while (true); }, 300)</script>"),
        "forbidden.example/": lambda r, b: (403, "text/html", b"no", []),
        "bodies.example/": lambda r, b: html(BODIES),
        "static.tracker-a.example/now.js": lambda r, b: script("1", ("Cache-Control", "no-store")),
    }


class Authority:
    """A certificate authority for one test session."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Throwaway CA")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(True, 0), None)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self._contexts: dict[str, ssl.SSLContext] = {}
        der = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.spki = base64.b64encode(hashlib.sha256(der).digest()).decode()

    def _sign(self, subject, key, constraints, host):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(constraints, critical=True)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def context(self) -> ssl.SSLContext:
        context = self._context_of("localhost")
        context.sni_callback = self._choose
        return context

    def _choose(self, connection, name, _):
        connection.context = self._context_of(name or "localhost")

    def _context_of(self, host: str) -> ssl.SSLContext:
        if host not in self._contexts:
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:60])])
            leaf = self._sign(name, key, x509.BasicConstraints(False, None), host)
            chain = self._folder / f"{host}.pem"
            chain.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
                + leaf.public_bytes(serialization.Encoding.PEM)
                + self.file.read_bytes()
            )
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain)
            self._contexts[host] = context
        return self._contexts[host]


@dataclass
class Running:
    """The servers while they run."""

    small: SmallInternet
    stop: Callable[[], object]


async def serve(
    folder: Path,
    profiles: tuple[str, ...] = ("p1", "p2"),
    more: Mapping[str, Callable[[web.Request, bytes], Answer]] = MappingProxyType({}),
) -> Running:
    """Start the servers, with `more` routes; one loopback address and two ports for everybody."""
    authority = Authority(folder)
    table = {**routes(), **more}
    small: SmallInternet

    async def answer(request: web.Request) -> web.StreamResponse:
        at = datetime.datetime.now(datetime.UTC).timestamp()
        body = await request.read()
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        host = request.host.split(":")[0]
        url = f"{request.scheme}://{host}{request.path_qs}"
        asked = Asked(at, request.method, url, request.headers.get("Cookie"), request.headers.get("Referer"))
        asked.body = body.decode("utf-8", "replace")
        small.log.append(asked)
        cors = []
        if origin := request.headers.get("Origin"):
            cors = [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
            ]
        if request.method == "OPTIONS":
            wanted = request.headers.get("Access-Control-Request-Headers", "*")
            result: Answer = (204, "text/plain", b"", [("Access-Control-Allow-Headers", wanted)])
        elif handler := table.get(host + request.path):
            result = handler(request, body)
            if asyncio.iscoroutine(result):
                result = await result
        elif request.path == "/favicon.ico":
            result = 404, "text/plain", b"", []
        else:
            result = pixel(cookie("u", f"u-{host}"))
        status, kind, content, headers = result
        response = web.Response(status=status, body=content, content_type=kind)
        for name, value in [*headers, *cors]:
            response.headers.add(name, value)
        asked.set_cookie = response.headers.getall("Set-Cookie", [])
        asked.status, asked.location = status, response.headers.get("Location")
        return response

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    tls = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.context())
    plain = web.TCPSite(runner, "127.0.0.1", 0)
    await tls.start()
    await plain.start()
    https_port, http_port = (address[1] for address in runner.addresses)
    small = SmallInternet(
        Internet(
            ca_file=authority.file,
            ca_spki=authority.spki,
            hosts={},
            gateways=dict.fromkeys(profiles, "127.0.0.1"),
            https_port=https_port,
            http_port=http_port,
            h2_port=0,
            h2_hosts=frozenset(),
        )
    )
    return Running(small, runner.cleanup)
