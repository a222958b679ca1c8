"""Hops: what the browser's network events, put together, say of each request.

No I/O: events go in, finished hops come out. A request that is redirected is a chain of hops under one protocol
identifier. What really went over the wire (Cookie, Set-Cookie, Location, status) comes in separate "extra
info" events that carry no hop number and may come before or after the events that they belong to: the k-th belongs to
the k-th hop that used the network. A hop answered from a cache or by a service worker used no network and has none.
"""

from __future__ import annotations

import base64
import zlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from earwitness.crawl.network_events import (
    AnswerExtra,
    Attached,
    BodyPart,
    Ended,
    Initiator,
    Navigated,
    Received,
    Response,
    Sending,
    SentExtra,
)
from earwitness.model.identity import row_id

BODY_BYTES = 65536
"""Of a request body, so many bytes are kept."""


@dataclass(slots=True)
class Hop:
    """One hop of one request.

    `line` is the event's line in the log, `answer_line` that of its answer's headers. `request` is the row id, given
    when the visit has ended; it is empty for hops that no server saw. `initiator_request` is the protocol identifier
    of the request that a preflight asks for.
    """

    number: int
    line: int
    at: datetime
    method: str
    url: str
    kind: str
    frame_url: str | None
    initiator: str | None
    by: str
    body: str | None
    session: str
    initiator_request: str = ""
    response: Response | None = None
    extra_promised: bool | None = None
    sent: SentExtra | None = None
    answer: AnswerExtra | None = None
    answer_line: int | None = None
    cached: bool = False
    error: str = ""
    request: str = ""
    redirected_from: str = ""

    @property
    def host(self) -> str:
        """The host asked."""
        return host_of(self.url)

    @property
    def status(self) -> int | None:
        """HTTP status as it came over the wire; null where no answer came."""
        if self.answer is not None:
            return self.answer.status_code
        return self.response.status if self.response is not None else None

    @property
    def location(self) -> str | None:
        """Where the answer redirects to."""
        return header(self._answer_headers(), "location")

    @property
    def cookies_sent(self) -> str | None:
        """The Cookie header."""
        return header(self.sent.headers, "cookie") if self.sent is not None else None

    @property
    def referer(self) -> str | None:
        """The Referer header as sent."""
        return header(self.sent.headers, "referer") if self.sent is not None else None

    @property
    def cookies_set(self) -> list[str]:
        """The Set-Cookie lines."""
        lines = header(self._answer_headers(), "set-cookie")
        return lines.split("\n") if lines else []

    def _answer_headers(self) -> dict[str, str]:
        if self.answer is not None:
            return self.answer.headers
        return self.response.headers if self.response is not None else {}


@dataclass(slots=True)
class _Chain:
    """Everything under one protocol identifier."""

    hops: list[Hop] = field(default_factory=list)
    sent: list[SentExtra] = field(default_factory=list)
    answers: list[tuple[int, AnswerExtra]] = field(default_factory=list)
    from_cache: bool = False
    frame: str = ""


class Hops:
    """Collects the hops of one visit at a time.

    `open` maps the protocol identifiers of requests that are under way to their session.
    """

    def __init__(self) -> None:
        self.open: dict[str, str] = {}
        self._chains: dict[str, _Chain] = {}
        self._frame_urls: dict[str, str] = {}
        self._parents: dict[str, str] = {}

    def sending(self, event: Sending, session: str, line: int) -> Hop | None:
        """A request, or the next hop of one; null where it is none of HTTP."""
        url = event.request.url
        if not url.startswith(("http:", "https:")):
            return None
        chain = self._chains.setdefault(event.request_id, _Chain())
        if event.redirect_response is not None and chain.hops:
            chain.hops[-1].response = event.redirect_response
            chain.hops[-1].extra_promised = event.redirect_has_extra_info
        chain.frame = chain.frame or event.frame_id
        by = event.initiator.type
        frame_url = self._asking_frame(event)
        hop = Hop(
            number=len(chain.hops),
            line=line,
            at=datetime.fromtimestamp(round(event.wall_time * 1e6) / 1e6, UTC),
            method=event.request.method,
            url=url,
            kind="preflight" if by == "preflight" else event.type.lower(),
            frame_url=frame_url,
            initiator=_initiator(event.initiator) or frame_url,
            by=by,
            body=_body(event.request.post_data_entries),
            session=session,
            initiator_request=event.initiator.request_id if by == "preflight" else "",
        )
        chain.hops.append(hop)
        if event.type != "EventSource":  # stays open for as long as the page does
            self.open[event.request_id] = session
        return hop

    def sent(self, event: SentExtra) -> None:
        """Request headers as sent."""
        self._chains.setdefault(event.request_id, _Chain()).sent.append(event)

    def answered(self, event: AnswerExtra, line: int) -> None:
        """Response headers as received."""
        self._chains.setdefault(event.request_id, _Chain()).answers.append((line, event))

    def received(self, event: Received) -> None:
        """The answer of a chain's last hop."""
        chain = self._chains.get(event.request_id)
        if chain is not None and chain.hops:
            chain.hops[-1].response = event.response
            chain.hops[-1].extra_promised = event.has_extra_info

    def served_from_cache(self, event: Ended) -> None:
        """The memory cache answered: no network was used."""
        if chain := self._chains.get(event.request_id):
            chain.from_cache = True

    def ended(self, event: Ended) -> None:
        """A request ended, well or not."""
        self.open.pop(event.request_id, None)
        chain = self._chains.get(event.request_id)
        if event.error_text and chain is not None and chain.hops:
            chain.hops[-1].error = event.error_text

    def session_ended(self, session: str) -> None:
        """A target is gone: what it had asked for will not be reported as ended any more."""
        for request_id in [r for r, s in self.open.items() if s == session]:
            del self.open[request_id]

    def frame_attached(self, event: Attached) -> None:
        """A frame in another."""
        self._parents[event.frame_id] = event.parent_frame_id

    def frame_navigated(self, event: Navigated) -> None:
        """A frame shows another document."""
        frame = event.frame
        self._frame_urls[frame.id] = frame.url
        if frame.parent_id:
            self._parents[frame.id] = frame.parent_id

    def frame_removed(self, frame: str) -> None:
        """A frame is gone, and its requests with it."""
        for request_id in list(self.open):
            if self._chains[request_id].frame == frame:
                del self.open[request_id]

    def host_of_request(self, request_id: str) -> str:
        """The host of a chain's last hop; empty where none is known."""
        chain = self._chains.get(request_id)
        return chain.hops[-1].host if chain is not None and chain.hops else ""

    def main_document(self, frame: str) -> Hop | None:
        """The last hop of the latest document request of a frame."""
        for chain in reversed(self._chains.values()):
            if chain.frame == frame and chain.hops and chain.hops[-1].kind == "document":
                self._pair(chain)
                return chain.hops[-1]
        return None

    def take(self, profile: str, visit: str) -> tuple[list[Hop], list[SentExtra]]:
        """The visit's hops in the order of their sending, and the sent headers that belong to none of them.

        Hops that a server saw get their row id.
        """
        orphans: list[SentExtra] = []
        for chain in self._chains.values():
            if chain.hops:
                self._pair(chain)
            else:
                orphans += chain.sent
        hops = sorted((h for c in self._chains.values() for h in c.hops), key=lambda h: h.line)
        seen: Counter[tuple[str, str]] = Counter()
        for hop in hops:
            if _used_network(hop) and not _is_icon(hop):
                occurrence = seen[hop.method, hop.url]
                seen[hop.method, hop.url] += 1
                hop.request = row_id(profile, visit, "request", hop.method, hop.url, occurrence)
        for chain in self._chains.values():
            for earlier, later in zip(chain.hops, chain.hops[1:], strict=False):
                later.redirected_from = earlier.request
            for hop in chain.hops:
                asked_for = self._chains.get(hop.initiator_request)
                if asked_for is not None and asked_for.hops:
                    hop.frame_url = asked_for.hops[0].frame_url
                    hop.initiator = asked_for.hops[0].initiator
        self._chains = {}
        self.open.clear()
        return hops, orphans

    def _asking_frame(self, event: Sending) -> str | None:
        """The document that asked: for a frame's own document that is the frame around it."""
        if event.type == "Document":
            return self._frame_urls.get(self._parents.get(event.frame_id, ""))
        if event.document_url != event.request.url:
            return event.document_url or None
        # A worker's own script names itself as its document.
        return self._frame_urls.get(event.frame_id) or event.initiator.url or None

    def _pair(self, chain: _Chain) -> None:
        sent = iter(chain.sent)
        answers = iter(chain.answers)
        waiting = next(sent, None)
        for hop in chain.hops:
            # The memory cache repeats the promise of the answer that it once got: it counts for nothing.
            hop.cached = chain.from_cache
            if hop.cached or hop.extra_promised is False:
                continue
            if waiting is not None and _same_host(hop, waiting):
                hop.sent, waiting = waiting, next(sent, None)
                hop.answer_line, hop.answer = next(answers, (None, None))


def host_of(url: str) -> str:
    """The host of an address, in lower case; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def header(headers: dict[str, str], name: str) -> str | None:
    """A header's value, whatever the case of its name; several lines are joined by line feeds."""
    for key, value in headers.items():
        if key.lower() == name:
            return value
    return None


def body_text(data: bytes) -> str:
    """A request body as text: unpacked where it is gzip, cut at `BODY_BYTES`."""
    if data.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            data = zlib.decompressobj(wbits=31).decompress(data, BODY_BYTES)
    return data[:BODY_BYTES].decode("utf-8", "replace")


def _body(parts: list[BodyPart]) -> str | None:
    return body_text(b"".join(base64.b64decode(p.bytes) for p in parts)) if parts else None


def _initiator(initiator: Initiator) -> str | None:
    stack = initiator.stack
    while stack is not None:
        for call in stack.call_frames:
            if call.url:
                return call.url
        stack = stack.parent
    return initiator.url or None


def _same_host(hop: Hop, sent: SentExtra) -> bool:
    stated = header(sent.headers, "host") or header(sent.headers, ":authority")
    return stated is None or host_of(f"//{stated}") == hop.host


def _used_network(hop: Hop) -> bool:
    """Whether a server saw the hop.

    Sent headers prove it. A service worker's own script comes without them, so an answer counts too, unless a cache, a
    worker or the browser itself (an upgrade to HTTPS) gave it.
    """
    if hop.sent is not None:
        return True
    answer = hop.response
    return answer is not None and not (
        hop.cached
        or answer.from_disk_cache
        or answer.from_service_worker
        or answer.from_prefetch_cache
        or header(answer.headers, "non-authoritative-reason")
    )


def _is_icon(hop: Hop) -> bool:
    """Whether the browser's interface asked for the page's icon: no page does it, so it is no row."""
    return hop.kind == "other" and hop.by == "other"
