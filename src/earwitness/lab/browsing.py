"""One request as the servers see it, and what a profile's browser is doing meanwhile."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import web

YEAR_S = 31_536_000
PICTURE = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")


@dataclass
class Browsing:
    """Where a profile's browser is: the publisher page it loaded last, and how often things happened since."""

    site: str | None = None
    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def open(self, site: str) -> None:
        """A publisher page is loaded: a new visit begins."""
        self.site = site
        self.counts.clear()

    def count(self, *what: str) -> int:
        """How often `what` has happened in this visit before now; it is counted."""
        self.counts[what] += 1
        return self.counts[what] - 1


@dataclass(frozen=True)
class Hit:
    """One request. `profile` is known from the address it came to: for the log and as a key for draws only.

    `fault` is how the server fails at it (`faults`), None where it does not.
    """

    method: str
    host: str
    path: str
    url: str
    query: dict[str, str]
    cookies: dict[str, str]
    origin: str | None
    body: bytes
    profile: str
    browsing: Browsing
    fault: str | None = None


@dataclass(frozen=True)
class Answer:
    """What goes back, and which kind of request it was (as in `truth_requests`)."""

    kind: str
    response: web.StreamResponse


def hit_of(request: web.Request, body: bytes, profile: str, browsing: Browsing) -> Hit:
    """The request in plain terms."""
    host = request.host.partition(":")[0].lower()
    path, _, query = request.raw_path.partition("?")
    cookies = (pair.strip().partition("=") for pair in request.headers.get("Cookie", "").split(";") if pair.strip())
    return Hit(
        method=request.method,
        host=host,
        path=path,
        url=f"{request.scheme}://{host}{request.raw_path}",
        query=dict(parse_qsl(query, keep_blank_values=True)),
        cookies={name: value for name, _, value in cookies},
        origin=request.headers.get("Origin"),
        body=body,
        profile=profile,
        browsing=browsing,
    )


def set_third_party_cookie(response: web.StreamResponse, name: str, value: str, domain: str) -> None:
    """Set a cookie that comes back from every site, for a year."""
    response.headers.add(
        "Set-Cookie", f"{name}={value}; Domain=.{domain}; Path=/; Max-Age={YEAR_S}; Secure; SameSite=None"
    )


def page(text: str) -> web.Response:
    """An HTML page that is not to be cached."""
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers={"Cache-Control": "no-store"})


def script(text: str) -> web.Response:
    """A script that is not to be cached."""
    headers = {"Cache-Control": "no-store"}
    return web.Response(text=text, content_type="application/javascript", charset="utf-8", headers=headers)


def pixel() -> web.Response:
    """A picture of one pixel."""
    return web.Response(body=PICTURE, content_type="image/gif", headers={"Cache-Control": "no-store"})


def redirect(address: str, status: int = 302) -> web.Response:
    """A redirect. `address` is sent as it is."""
    return web.Response(status=status, headers={"Location": address, "Cache-Control": "no-store"})
