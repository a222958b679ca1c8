"""One tab: go somewhere, ask the page something, act like a person in it."""

from __future__ import annotations

import asyncio
import json
from typing import TypeVar

import msgspec

from earwitness.crawl.cdp import CommandFailed, Session
from earwitness.crawl.targets import Targets

T = TypeVar("T")

BLANK = "about:blank"

_COMPLETE = """new Promise(done => {
  const soon = () => setTimeout(() => done(true));
  document.readyState === 'complete' ? soon() : addEventListener('load', soon);
})"""
_MIDDLE = """selector => {
  const element = document.querySelector(selector);
  element.scrollIntoView({block: 'center', behavior: 'instant'});
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""


class TabCrashed(RuntimeError):
    """The page's process ended."""


class _Navigation(msgspec.Struct, rename="camel"):
    error_text: str = ""


class _Remote(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw(b"null")
    description: str = ""


class _Exception(msgspec.Struct):
    text: str = ""
    exception: _Remote | None = None


class _Evaluated(msgspec.Struct, rename="camel"):
    result: _Remote
    exception_details: _Exception | None = None


class _Dialog(msgspec.Struct):
    type: str


class Tab:
    """A page target. `crashed` gets a result when its process ends. Dialogs are dismissed."""

    def __init__(self, targets: Targets, session: Session) -> None:
        self.session, self.targets = session, targets
        self.crashed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._loaded = asyncio.Event()
        targets.listen("Page.loadEventFired", self._on_load)
        targets.listen("Page.javascriptDialogOpening", _dismiss)
        targets.listen("Inspector.targetCrashed", self._on_crash)

    async def enable(self) -> None:
        """Switch on what the tab itself needs, and wait until all that was switched on before is on.

        Otherwise a first navigation to another process loses events. The empty page that a tab begins with is waited
        for, too, so that its load event is not taken for the first page's.
        """
        self.session.post("Inspector.enable")
        await self.session.call("Page.enable")
        await self.evaluate_raw(_COMPLETE, promise=True)

    async def go(self, url: str) -> str:
        """Navigate, and wait until the document has begun to arrive.

        Returns:
            The browser's error, or an empty string.
        """
        self._loaded.clear()
        try:
            answer = await self.session.ask(_Navigation, "Page.navigate", {"url": url})
        except CommandFailed as error:
            return str(error)
        return answer.error_text

    async def loaded(self) -> None:
        """Wait for the load event of the latest navigation."""
        await self._loaded.wait()

    def expect_load(self) -> None:
        """The page is about to navigate by itself: `loaded` waits for that."""
        self._loaded.clear()

    async def evaluate(self, kind: type[T], expression: str, promise: bool = False) -> T:
        """The value of a JavaScript expression in the page, as `kind`.

        Raises:
            CommandFailed: it threw, or its value is no plain data.
            msgspec.ValidationError: it has another shape.
        """
        return msgspec.json.decode(await self.evaluate_raw(expression, promise), type=kind)

    async def evaluate_raw(self, expression: str, promise: bool = False) -> bytes:
        """The JSON of the value of a JavaScript expression in the page.

        Raises:
            CommandFailed: it threw, or its value is no plain data.
        """
        answer = await self.session.ask(
            _Evaluated,
            "Runtime.evaluate",
            {"expression": expression, "returnByValue": True, "awaitPromise": promise},
        )
        if thrown := answer.exception_details:
            raise CommandFailed(thrown.exception.description if thrown.exception else thrown.text)
        return bytes(answer.result.value)

    async def click(self, selector: str) -> None:
        """Click the middle of the first element that matches.

        Raises:
            CommandFailed: there is none.
        """
        x, y = await self.evaluate(
            tuple[float, float],
            f"({_MIDDLE})({json.dumps(selector)})",
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.session.call(
                "Input.dispatchMouseEvent",
                {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1},
            )

    async def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        await self.session.call("Input.insertText", {"text": text})

    async def press_enter(self) -> None:
        """Press the Enter key."""
        key = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        await self.session.call("Input.dispatchKeyEvent", {"type": "keyDown", "text": "\r", **key})
        await self.session.call("Input.dispatchKeyEvent", {"type": "keyUp", **key})

    def _on_load(self, params: msgspec.Raw, session: Session) -> None:
        if session.id == self.session.id:
            self._loaded.set()

    def _on_crash(self, params: msgspec.Raw, session: Session) -> None:
        if session.id == self.session.id and not self.crashed.done():
            self.crashed.set_result("its process ended")


def _dismiss(params: msgspec.Raw, session: Session) -> None:
    # "Leave this page?" is the one question that is answered with yes.
    leave = msgspec.json.decode(params, type=_Dialog).type == "beforeunload"
    session.post("Page.handleJavaScriptDialog", {"accept": leave})
