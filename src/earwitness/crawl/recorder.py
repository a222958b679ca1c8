"""The recorder: writes down every event of every target, and puts requests together.

A session on a page alone sees about half of the requests; this one sees every frame, worker and service worker.

What the protocol does not show, and therefore no row shows: requests that a page sends while it is being left
(`sendBeacon`, keepalive), a service worker's update checks, and the cookies of the request for its script.
WebSockets are in the event log only.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from typing import TypeVar

import msgspec

from earwitness.crawl import network_events
from earwitness.crawl.cdp import CommandFailed, Session
from earwitness.crawl.events import EventLog
from earwitness.crawl.hops import Hop, Hops, body_text, header
from earwitness.crawl.secrets import Cookie, Secrets
from earwitness.crawl.targets import Targets

T = TypeVar("T")

# How much of a download has come: many events that say nothing which others do not.
_PROGRESS = b'{"method":"Network.dataReceived"'


class _Detached(msgspec.Struct, rename="camel"):
    session_id: str


class _FrameDetached(msgspec.Struct, rename="camel"):
    frame_id: str
    reason: str = ""


class _PostData(msgspec.Struct, rename="camel"):
    post_data: str = ""
    base64_encoded: bool = False


class _Associated(msgspec.Struct):
    cookie: Cookie


class _AssociatedCookies(msgspec.Struct, rename="camel"):
    associated_cookies: list[_Associated] = []


class _Named(msgspec.Struct):
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Recorder:
    """What one browser reports: written to `log` while `recording`, nothing before.

    `unseen` is called with subject, reason and detail of something that cannot be seen.
    """

    def __init__(
        self,
        targets: Targets,
        log: EventLog,
        secrets: Secrets,
        unseen: Callable[[str, str, str], None],
    ) -> None:
        self.recording = False
        self.hops = Hops()
        self._targets, self._log, self._secrets, self._unseen = targets, log, secrets, unseen
        self._last_event = 0.0
        self._moved = asyncio.Event()
        targets.intake = self._take_in
        for method, listener in (
            ("Network.requestWillBeSent", self._sending),
            ("Network.requestWillBeSentExtraInfo", self._sent),
            ("Network.responseReceivedExtraInfo", self._answered),
            ("Network.responseReceived", self._received),
            ("Network.requestServedFromCache", self._served_from_cache),
            ("Network.loadingFinished", self._ended),
            ("Network.loadingFailed", self._ended),
            ("Page.frameAttached", self._frame_attached),
            ("Page.frameNavigated", self._frame_navigated),
            ("Page.frameDetached", self._frame_detached),
            ("Target.detachedFromTarget", self._detached),
        ):
            targets.listen(method, listener)

    async def quiet(self, seconds: float, since: float = 0.0) -> None:
        """Wait until no request is open and none has begun or ended for `seconds`.

        The time is counted from `since` (of the event loop's clock) at the earliest.
        """
        clock = asyncio.get_running_loop().time
        while True:
            rest = max(self._last_event, since) + seconds - clock()
            if rest <= 0 and not self.hops.open:
                return
            self._moved.clear()
            try:
                async with asyncio.timeout(None if self.hops.open else rest):
                    await self._moved.wait()
            except TimeoutError:
                continue

    def page_left(self) -> None:
        """The document is gone: nothing that it had asked for will be reported as ended any more."""
        self.hops.open.clear()

    def _take_in(self, raw: bytes) -> bytes | None:
        if raw.startswith(_PROGRESS):
            return None
        if self._secrets.mentions_session(raw):
            self._learn(raw)
        raw = self._secrets.redact(raw)
        if self.recording:
            self._log.event(raw)
        return raw

    def _learn(self, raw: bytes) -> None:
        """Session cookies may get new values at any time: learn them before they are written."""
        event = _decode(_Named, raw)
        if event.method == "Network.responseReceivedExtraInfo":
            answer = _decode(network_events.AnswerExtra, event.params)
            host = self.hops.host_of_request(answer.request_id)
            for line in (header(answer.headers, "set-cookie") or "").split("\n"):
                name, _, value = line.partition(";")[0].partition("=")
                self._secrets.learn_cookie(host, name.strip(), value.strip())
        elif event.method == "Network.requestWillBeSentExtraInfo":
            for associated in _decode(_AssociatedCookies, event.params).associated_cookies:
                cookie = associated.cookie
                self._secrets.learn_cookie(cookie.host, cookie.name, cookie.value)

    def _network_moved(self) -> None:
        self._last_event = asyncio.get_running_loop().time()
        self._moved.set()

    def _sending(self, params: msgspec.Raw, session: Session) -> None:
        event = _decode(network_events.Sending, params)
        hop = self.hops.sending(event, session.id, self._log.lines)
        if hop is None:
            return
        self._network_moved()
        if hop.body is None and event.request.has_post_data and self.recording:
            asking = session.post("Network.getRequestPostData", {"requestId": event.request_id})
            asking.add_done_callback(lambda answer: self._body_came(hop, answer))

    def _body_came(self, hop: Hop, answer: asyncio.Future[bytes]) -> None:
        """Bodies that are large or made of blobs do not come with the event."""
        if answer.cancelled() or isinstance(answer.exception(), CommandFailed | ConnectionError):
            self._unseen(hop.url, "body_unseen", f"{hop.method}: the browser kept the body to itself")
            return
        data = _decode(_PostData, answer.result())
        raw = data.post_data.encode("utf-8", "surrogatepass")
        body = body_text(base64.b64decode(raw) if data.base64_encoded else raw)
        hop.body = self._secrets.redact_text(body)
        self._log.note("body", {"line": hop.line, "url": hop.url, "body": hop.body})

    def _sent(self, params: msgspec.Raw, session: Session) -> None:
        self.hops.sent(_decode(network_events.SentExtra, params))

    def _answered(self, params: msgspec.Raw, session: Session) -> None:
        self.hops.answered(_decode(network_events.AnswerExtra, params), self._log.lines)

    def _received(self, params: msgspec.Raw, session: Session) -> None:
        self.hops.received(_decode(network_events.Received, params))

    def _served_from_cache(self, params: msgspec.Raw, session: Session) -> None:
        self.hops.served_from_cache(_decode(network_events.Ended, params))

    def _ended(self, params: msgspec.Raw, session: Session) -> None:
        self.hops.ended(_decode(network_events.Ended, params))
        self._network_moved()

    def _frame_attached(self, params: msgspec.Raw, session: Session) -> None:
        self.hops.frame_attached(_decode(network_events.Attached, params))

    def _frame_navigated(self, params: msgspec.Raw, session: Session) -> None:
        self.hops.frame_navigated(_decode(network_events.Navigated, params))

    def _frame_detached(self, params: msgspec.Raw, session: Session) -> None:
        event = _decode(_FrameDetached, params)
        if event.reason != "swap":  # swapped: the frame goes on in another process
            self.hops.frame_removed(event.frame_id)
            self._moved.set()

    def _detached(self, params: msgspec.Raw, session: Session) -> None:
        self.hops.session_ended(_decode(_Detached, params).session_id)
        self._moved.set()


def _decode(kind: type[T], raw: msgspec.Raw | bytes) -> T:
    return msgspec.json.decode(raw, type=kind)
