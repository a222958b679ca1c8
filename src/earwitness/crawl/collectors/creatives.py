"""The ads that were rendered: a picture of each, its text, and where it leads, without clicking."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import msgspec

from earwitness.crawl.cdp import CommandFailed, Session
from earwitness.crawl.collectors.base import Collector
from earwitness.crawl.tab import Tab
from earwitness.crawl.visit import Row, Visit
from earwitness.model.errors import BadInput
from earwitness.model.identity import row_id


@cache
def _script(name: str) -> str:
    return files("earwitness.crawl.collectors").joinpath(name).read_text("utf-8").strip()


# `code` names an ad unit, which is by convention the id of the slot's element.
_ELEMENT = "code => document.getElementById(code)"
_DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
_DRAWN_S = 0.5
_QUIET_S = 0.25
_QUIET_CAP_S = 1.0
_FRAMES = ("IFRAME", "FRAME", "FENCEDFRAME")
_DEEPEST = 6
_MOST_FRAMES = 30
_LONGEST_SIDE = 2000
# Everything that is not a line's end, a tab or a visible character, and marks that turn the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class _Slot(msgspec.Struct):
    code: str
    won: bool


class _World(msgspec.Struct, rename="camel"):
    execution_context_id: int


class _Object(msgspec.Struct, rename="camel"):
    object_id: str | None = None
    value: msgspec.Raw = msgspec.Raw(b"null")


class _Evaluated(msgspec.Struct, rename="camel"):
    result: _Object
    exception_details: msgspec.Raw | None = None


class _Node(msgspec.Struct, rename="camel"):
    node_name: str = ""
    frame_id: str | None = None
    children: list[_Node] = []
    shadow_roots: list[_Node] = []


class _Described(msgspec.Struct):
    node: _Node


class _Seen(msgspec.Struct):
    text: str
    link: str


class _Box(msgspec.Struct):
    framed: bool
    x: float
    y: float
    width: float
    height: float
    inside: bool


class _Picture(msgspec.Struct):
    data: str


@dataclass
class _Ad:
    """One slot's ad, as far as seen: `roots` are the elements read; `unseen` says why there is no picture."""

    slot: str
    texts: list[str] = field(default_factory=list)
    landing_url: str | None = None
    png: bytes | None = None
    unseen: str = "the page did not answer in time"
    rendered: bool = False
    line: int = 0
    roots: list[tuple[Session, str]] = field(default_factory=list)


class CreativesCollector(Collector):
    """Fills `creatives`: one row for each slot of a Prebid.js in which an ad was rendered.

    Everything is read in a JavaScript world of our own, so that no ad can change what is read of it.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._ads: list[_Ad] = []
        self._scrolled = False
        self._hashes: dict[bytes, str | None] = {}

    async def visit_started(self, visit: Visit) -> None:
        """Forget the last page."""
        self._ads = []

    async def page_quiet(self, visit: Visit, tab: Tab) -> None:
        """Take the pictures, and read the frames."""
        try:
            slots = await tab.evaluate(list[_Slot], _script("slots.js"))
        except (CommandFailed, msgspec.ValidationError):
            return  # nothing that could be called a Prebid.js
        self._ads = [_Ad(slot.code, rendered=slot.won) for slot in _merged(slots)]
        for ad in self._ads:
            try:
                await self._see(tab, ad)
            except (CommandFailed, msgspec.MsgspecError, RecursionError) as error:
                ad.unseen = (str(error).splitlines() or [type(error).__name__])[0][:200]
            if ad.rendered:
                noted = {"slot": ad.slot, "text": ad.texts, "landing_url": ad.landing_url}
                raw = self.record.secrets.redact(msgspec.json.encode(noted))
                ad.line = self.record.log.note("creative", msgspec.Raw(raw))
                clean = msgspec.json.decode(raw, type=dict[str, list[str] | str | None])
                ad.texts = [str(text) for text in clean["text"] or ()]
                ad.landing_url = clean["landing_url"] if isinstance(clean["landing_url"], str) else None
        if self._scrolled:
            # What scrolling made the page ask for belongs to the visit.
            self._scrolled = False
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET_CAP_S):
                    await self.record.recorder.quiet(_QUIET_S)

    def rows(self, visit: Visit) -> Mapping[str, list[Row]]:
        """One row for each rendered ad; a gap for each of which there is no picture."""
        rows: list[Row] = []
        for ad in self._ads:
            if not ad.rendered:
                continue
            creative = row_id(visit.plan.visit, ad.slot)
            if ad.png is None:
                detail = f"an ad was rendered in {ad.slot[:100]}, but no picture could be taken: {ad.unseen}"
                self.record.gap(visit.plan.visit, "creative_unseen", detail)
            rows.append(
                {
                    "creative": creative,
                    "visit": visit.plan.visit,
                    "slot": ad.slot,
                    "screenshot": self._kept(creative, ad.png),
                    "text": "\n".join(ad.texts) or None,
                    "landing_url": ad.landing_url,
                    "perceptual_hash": self._hash(ad.png),
                    "locator": f"line {ad.line}" if ad.line else None,
                }
            )
        self._ads = []
        return {"creatives": rows}

    def _kept(self, creative: str, png: bytes | None) -> str | None:
        """The name of the file that now holds the picture; null where none is kept."""
        folder: Path | None = self.record.pictures
        if png is None or folder is None:
            return None
        name = f"{creative}.png"
        (folder / name).write_bytes(png)
        return name

    def _hash(self, png: bytes | None) -> str | None:
        if png is None:
            return None
        from earwitness.crawl.picture import decode_png, perceptual_hash  # numpy, which only pictures need

        digest = hashlib.sha256(png).digest()
        if digest not in self._hashes:
            try:
                self._hashes[digest] = perceptual_hash(decode_png(png))
            except BadInput:
                self._hashes[digest] = None
        return self._hashes[digest]

    # Looking at one slot ------------------------------------------------------------------------------------

    async def _see(self, tab: Tab, ad: _Ad) -> None:
        world = await _world_of(tab.session, tab.session.target)
        element = await _object(tab.session, world, f"({_ELEMENT})({msgspec.json.encode(ad.slot).decode()})")
        if element is None:
            ad.unseen = "the page has no element of that name"
            return
        box = msgspec.json.decode(await _called(tab.session, element, _script("box.js")), type=_Box)
        ad.rendered = ad.rendered or box.framed
        if not ad.rendered:
            return
        await self._read(tab.session, element, ad, _DEEPEST)
        if box.width < 1 or box.height < 1:
            ad.unseen = "it takes no room on the page"
            return
        if not box.inside:
            box = await self._scroll_to(tab, element, ad)
        ad.png = await _picture(tab.session, box)

    async def _scroll_to(self, tab: Tab, element: str, ad: _Ad) -> _Box:
        """Bring an ad onto the screen, as a reader would, and wait until each of its frames has been drawn there.

        The browser does not draw frames of other sites elsewhere.
        """
        self._scrolled = True
        middle = "slot => slot.scrollIntoView({block: 'center', behavior: 'instant'})"
        await _called(tab.session, element, middle)
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAWN_S):
                drawn = (_called(session, root, _DRAWN, promise=True) for session, root in ad.roots)
                await asyncio.gather(*drawn, return_exceptions=True)
        return msgspec.json.decode(await _called(tab.session, element, _script("box.js")), type=_Box)

    async def _read(self, session: Session, element: str, ad: _Ad, depth: int) -> None:
        """Read an element, then the frames in it, wherever they run."""
        ad.roots.append((session, element))
        seen = msgspec.json.decode(await _called(session, element, _script("frame.js")), type=_Seen)
        if text := _CONTROL.sub("", seen.text).strip():
            ad.texts.append(text)
        ad.landing_url = ad.landing_url or _CONTROL.sub("", seen.link) or None
        if not depth:
            return
        described = await session.ask(
            _Described, "DOM.describeNode", {"objectId": element, "depth": -1, "pierce": True}
        )
        for frame in _frames_in(described.node):
            if len(ad.roots) > _MOST_FRAMES:
                return
            own = next((s for s in self.record.targets.sessions.values() if s.target == frame), session)
            try:
                inner = await _object(own, await _world_of(own, frame), "document.documentElement")
                if inner is not None:
                    await self._read(own, inner, ad, depth - 1)
            except CommandFailed:
                continue  # it went away while we looked


def _merged(slots: list[_Slot]) -> list[_Slot]:
    """Each ad unit once, also where two Prebid.js share it."""
    won: dict[str, bool] = {}
    for slot in slots:
        won[slot.code] = won.get(slot.code, False) or slot.won
    return [_Slot(code, rendered) for code, rendered in won.items()]


def _frames_in(node: _Node) -> list[str]:
    """The frames in a tree, in its order, without those inside of other frames."""
    found: list[str] = []
    left = [node]
    while left:
        one = left.pop()
        if one.node_name.upper() in _FRAMES:
            found += [one.frame_id] if one.frame_id else []
        else:
            left += [*reversed(one.children), *reversed(one.shadow_roots)]
    return found


async def _world_of(session: Session, frame: str) -> int:
    """A JavaScript world of our own in a frame: it sees the page's elements, and the page does not see it."""
    world = {"frameId": frame, "worldName": "earwitness"}
    return (await session.ask(_World, "Page.createIsolatedWorld", world)).execution_context_id


async def _object(session: Session, world: int, expression: str) -> str | None:
    """What an expression gives, to be held on to; null for null."""
    asked = {"expression": expression, "contextId": world}
    return (await session.ask(_Evaluated, "Runtime.evaluate", asked)).result.object_id


async def _called(session: Session, element: str, function: str, promise: bool = False) -> bytes:
    """The JSON of what a function gives for an element."""
    asked = {
        "functionDeclaration": function,
        "objectId": element,
        "arguments": [{"objectId": element}],
        "returnByValue": True,
        "awaitPromise": promise,
    }
    answer = await session.ask(_Evaluated, "Runtime.callFunctionOn", asked)
    if answer.exception_details is not None:
        raise CommandFailed("the element cannot be read")
    return bytes(answer.result.value)


async def _picture(session: Session, box: _Box) -> bytes:
    clip = {
        "x": box.x,
        "y": box.y,
        "width": min(box.width, _LONGEST_SIDE),
        "height": min(box.height, _LONGEST_SIDE),
        "scale": 1,
    }
    asked = {"format": "png", "clip": clip, "captureBeyondViewport": False}
    return base64.b64decode((await session.ask(_Picture, "Page.captureScreenshot", asked)).data)
