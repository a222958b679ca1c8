"""The targets of one browser: pages, frames in processes of their own, workers; all attached to before they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec

from earwitness.crawl.cdp import Connection, Session

T = TypeVar("T")
Listener = Callable[[msgspec.Raw, Session], None]

# Targets that belong to the browser's own interface, not to a page.
_NOT_PAGES = ("browser", "tab", "browser_ui", "webview", "other")
_ATTACH = {
    "autoAttach": True,
    "waitForDebuggerOnStart": True,
    "flatten": True,
    "filter": [*({"type": kind, "exclude": True} for kind in _NOT_PAGES), {}],
}
# Workers that outlive pages are attached to twice: once by the browser, once by each page.
_SHARED = ("service_worker", "shared_worker")


class _Event(msgspec.Struct, rename={"session": "sessionId"}):
    method: str = ""
    params: msgspec.Raw = msgspec.Raw(b"{}")
    session: str = ""


class _TargetInfo(msgspec.Struct, rename="camel"):
    target_id: str
    type: str
    url: str = ""


class _Attached(msgspec.Struct, rename="camel"):
    session_id: str
    target_info: _TargetInfo


class _Detached(msgspec.Struct, rename="camel"):
    session_id: str


_decode_event = msgspec.json.Decoder(_Event).decode


class Targets:
    """All sessions of one browser, and who wants to hear of their events.

    `intake` sees the bytes of each event first and gives back those to go on with; null drops the event. `attached` is
    called with each new session before its target runs; commands that it posts are obeyed before that.
    """

    def __init__(self) -> None:
        self.intake: Callable[[bytes], bytes | None] = _as_it_is
        self.attached: Callable[[Session], None] = _nothing
        self.sessions: dict[str, Session] = {}
        self.service_workers: set[str] = set()
        self._connection = Connection(self._event)
        self.browser = Session(self._connection)
        self._listeners: dict[str, list[Listener]] = {}

    @property
    def gone(self) -> asyncio.Future[str]:
        """Gets the reason when the browser has ended."""
        return self._connection.gone

    async def open(self, url: str) -> None:
        """Connect to the browser and attach to all of its targets, now and in future.

        Raises:
            BrowserGone: nothing answers there.
        """
        await self._connection.open(url)
        await self.browser.call("Target.setAutoAttach", _ATTACH)

    async def close(self) -> None:
        """End the connection."""
        await self._connection.close()

    def listen(self, method: str, listener: Listener) -> None:
        """Call `listener` with the parameters and the session of every event `method`."""
        self._listeners.setdefault(method, []).append(listener)

    def _event(self, raw: bytes) -> None:
        taken = self.intake(raw)
        if taken is None:
            return
        event = _decode_event(taken)
        session = self.sessions.get(event.session, self.browser)
        if event.method == "Target.attachedToTarget":
            self._attach(msgspec.json.decode(event.params, type=_Attached), event.session)
        for listener in self._listeners.get(event.method, ()):
            listener(event.params, session)
        if event.method == "Target.detachedFromTarget":
            gone = msgspec.json.decode(event.params, type=_Detached)
            self.sessions.pop(gone.session_id, None)

    def _attach(self, event: _Attached, parent: str) -> None:
        info = event.target_info
        session = Session(self._connection, event.session_id, info.type, info.target_id, info.url)
        if info.type == "service_worker":
            self.service_workers.add(info.url)
        if info.type not in _SHARED or not parent:
            self.sessions[event.session_id] = session
            session.post("Target.setAutoAttach", _ATTACH)
            self.attached(session)
        session.post("Runtime.runIfWaitingForDebugger")


def _as_it_is(raw: bytes) -> bytes:
    return raw


def _nothing(session: Session) -> None:
    del session
