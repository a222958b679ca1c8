"""Every cookie that was set, by an answer or by a script, and what pages keep in their storage."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from earwitness.crawl.cdp import CommandFailed, Session
from earwitness.crawl.collectors.base import Collector
from earwitness.crawl.hops import Hop, host_of
from earwitness.crawl.jar import read_jar
from earwitness.crawl.secrets import Cookie
from earwitness.crawl.tab import Tab
from earwitness.crawl.visit import Row, Visit
from earwitness.model.identity import row_id
from earwitness.parties import registrable_domain

_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)


class _Frame(msgspec.Struct, rename="camel"):
    id: str
    url: str = ""
    security_origin: str = ""


class _FrameTree(msgspec.Struct, rename="camel"):
    frame: _Frame
    child_frames: list[_FrameTree] = []


class _Tree(msgspec.Struct, rename="camel"):
    frame_tree: _FrameTree


class _StorageKey(msgspec.Struct, rename="camel"):
    storage_key: str


class _Entries(msgspec.Struct):
    entries: list[tuple[str, str]]


@dataclass(frozen=True)
class SetCookie:
    """What a Set-Cookie line asks for. `expires_at` is null for session cookies."""

    host: str
    name: str
    value: str
    expires_at: datetime | None


@dataclass(frozen=True)
class _Stored:
    """One entry of a storage, or one cookie that no answer set."""

    at: datetime
    line: int
    host: str
    name: str
    value: str
    via: str
    expires_at: datetime | None = None
    http_only: bool = False


class CookiesCollector(Collector):
    """Fills `cookies`: `via` is http (a Set-Cookie line that was accepted), script or storage (localStorage).

    Scripts' cookies are those that the jar gained while the page was open and that no answer had set. Storage is read
    when the page is quiet: one row for each entry that it then holds.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._before: dict[tuple[str, ...], Cookie] = {}
        self._found: list[_Stored] = []

    async def visit_started(self, visit: Visit) -> None:
        """Note what the jar holds."""
        self._found = []
        self._before = {_key(cookie): cookie for cookie in await self._jar()}

    async def page_quiet(self, visit: Visit, tab: Tab) -> None:
        """Note what the jar has gained, and what lies in the storage of each frame."""
        await self._read_jar()
        await self._read_storages()

    def rows(self, visit: Visit) -> Mapping[str, list[Row]]:
        """One row for each cookie set and each entry held."""
        site = registrable_domain(host_of(visit.plan.url))
        seen: Counter[tuple[str, str, str]] = Counter()
        rows: list[Row] = []

        def add(request: str | None, at: datetime, what: SetCookie | _Stored, via: str, line: int | None) -> None:
            occurrence = seen[via, what.host, what.name]
            seen[via, what.host, what.name] += 1
            rows.append(
                {
                    "cookie": row_id(
                        self.record.profile, visit.plan.visit, "cookie", via, what.host, what.name, occurrence
                    ),
                    "profile": self.record.profile,
                    "visit": visit.plan.visit,
                    "request": request,
                    "at": at,
                    "host": what.host,
                    "name": what.name,
                    "value": what.value,
                    "via": via,
                    "expires_at": what.expires_at,
                    "first_party": registrable_domain(what.host) == site,
                    "locator": f"line {line}",
                }
            )

        by_answers: set[tuple[str, str, str]] = set()
        for hop in visit.hops:
            for cookie in self._accepted(visit, hop):
                by_answers.add((cookie.host, cookie.name, cookie.value))
                if hop.request:
                    add(hop.request, hop.at, cookie, "http", hop.answer_line or hop.line)
        for stored in self._found:
            if (stored.host, stored.name, stored.value) in by_answers and stored.via == "script":
                continue
            if stored.http_only:
                detail = f"{stored.name} of {stored.host} was set by an answer that was not seen"
                self.record.gap(visit.plan.visit, "setter_unseen", detail)
                continue
            add(None, stored.at, stored, stored.via, stored.line)
        self._found = []
        return {"cookies": rows}

    def _accepted(self, visit: Visit, hop: Hop) -> list[SetCookie]:
        """The cookies that a hop's answer set; a gap for each that the browser refused."""
        refused = {b.cookie_line: b.blocked_reasons for b in hop.answer.blocked_cookies} if hop.answer else {}
        accepted = []
        for line in hop.cookies_set:
            cookie = parse_set_cookie(line, hop.host, hop.at)
            if line not in refused:
                accepted.append(cookie)
            elif hop.request:
                detail = f"{cookie.name} from {hop.host}: {', '.join(refused[line])}"
                self.record.gap(visit.plan.visit, "cookie_blocked", detail)
        return accepted

    async def _jar(self) -> list[Cookie]:
        return await read_jar(self.record.targets.browser, self.record.secrets.redact)

    async def _read_jar(self) -> None:
        gained = [
            cookie
            for cookie in await self._jar()
            if (had := self._before.get(_key(cookie))) is None
            or (had.value, had.expires) != (cookie.value, cookie.expires)
        ]
        if not gained:
            return
        at, line = datetime.now(UTC), self.record.log.note("cookies gained", gained)
        for cookie in gained:
            expires = None if cookie.session else datetime.fromtimestamp(cookie.expires, UTC)
            self._found.append(
                _Stored(at, line, cookie.host, cookie.name, cookie.value, "script", expires, cookie.http_only)
            )

    async def _read_storages(self) -> None:
        sessions = [s for s in self.record.targets.sessions.values() if s.kind in ("page", "iframe")]
        found = await asyncio.gather(*(_storages(session) for session in sessions))
        done: set[str] = set()
        for key, entries in (pair for storages in found for pair in storages):
            if key in done or not entries:
                continue
            done.add(key)
            redact = self.record.secrets.redact_text
            clean = [(redact(name), redact(value)) for name, value in entries]
            line = self.record.log.note("local storage", {"key": key, "entries": clean})
            host, at = host_of(key.partition("^")[0]), datetime.now(UTC)
            self._found += [_Stored(at, line, host, name, value, "storage") for name, value in clean]


async def _storages(session: Session) -> list[tuple[str, list[tuple[str, str]]]]:
    """(storage key, entries) of the localStorage of each frame that runs in the session's process."""
    try:
        tree = await session.ask(_Tree, "Page.getFrameTree")
    except CommandFailed:
        return []
    frames = {f.security_origin: f for f in _frames(tree.frame_tree) if f.url.startswith("http")}
    return [
        found
        for found in await asyncio.gather(*(_storage(session, frame) for frame in frames.values()))
        if found is not None
    ]


async def _storage(session: Session, frame: _Frame) -> tuple[str, list[tuple[str, str]]] | None:
    try:
        answer = await session.ask(_StorageKey, "Storage.getStorageKeyForFrame", {"frameId": frame.id})
        key = answer.storage_key
        where = {"storageKey": key, "isLocalStorage": True}
        held = await session.ask(_Entries, "DOMStorage.getDOMStorageItems", {"storageId": where})
    except CommandFailed:
        return None  # the frame is gone, or its origin has no storage
    return key, held.entries


def _frames(tree: _FrameTree) -> list[_Frame]:
    return [tree.frame, *(f for child in tree.child_frames for f in _frames(child))]


def _key(cookie: Cookie) -> tuple[str, ...]:
    partition = str((cookie.partition_key or {}).get("topLevelSite", ""))
    return cookie.domain, cookie.path, cookie.name, partition


def parse_set_cookie(line: str, host: str, at: datetime) -> SetCookie:
    """What the Set-Cookie line that `host` sent at `at` asks for (RFC 6265, section 5.2)."""
    pair, *attributes = line.split(";")
    name, equals, value = pair.partition("=")
    if not equals:
        name, value = "", pair
    max_age: datetime | None = None
    expires: datetime | None = None
    for attribute in attributes:
        label, _, content = attribute.partition("=")
        label, content = label.strip().lower(), content.strip()
        if label == "domain" and content.strip("."):
            host = content.removeprefix(".").lower()
        elif label == "max-age" and content.removeprefix("-").isdecimal():
            max_age = _later(at, int(content))
        elif label == "expires":
            expires = _date(content) or expires
    return SetCookie(host, name.strip(), value.strip(), max_age or expires)


def _later(at: datetime, seconds: int) -> datetime:
    try:
        return min(at + timedelta(seconds=seconds), _END_OF_TIME)
    except OverflowError:
        return _END_OF_TIME if seconds > 0 else at


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
