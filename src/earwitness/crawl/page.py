"""A local page in Chromium, offline: for tests of what a report shows, and for pictures of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from earwitness.crawl import chromium
from earwitness.crawl.cdp import Session
from earwitness.crawl.home import temporary_home
from earwitness.crawl.tab import Tab
from earwitness.crawl.targets import Targets
from earwitness.model.errors import EarwitnessError

_LOAD_S = 30.0


class _Picture(msgspec.Struct):
    data: str


class _Message(msgspec.Struct):
    text: str = ""
    level: str = ""


class _Entry(msgspec.Struct):
    entry: _Message


class Page:
    """An open page. `errors` collects what the browser complained of: scripts that threw, blocked resources."""

    def __init__(self, tab: Tab) -> None:
        self.errors: list[str] = []
        self._tab = tab
        tab.targets.listen("Runtime.exceptionThrown", self._threw)
        tab.targets.listen("Log.entryAdded", self._logged)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression (a promise is waited for) as plain Python data.

        Raises:
            CommandFailed: it threw.
        """
        return json.loads(await self._tab.evaluate_raw(expression, promise=True))

    async def click(self, selector: str) -> None:
        """Click the middle of the first element that matches.

        Raises:
            CommandFailed: there is none.
        """
        await self._tab.click(selector)

    async def type(self, text: str) -> None:
        """Type into whatever has the focus."""
        await self._tab.type(text)

    async def screenshot(self, png: Path, full: bool = False) -> None:
        """Write a picture of the window, or of the `full` page, to `png`."""
        answer = await self._tab.session.ask(
            _Picture, "Page.captureScreenshot", {"format": "png", "captureBeyondViewport": full}
        )
        png.write_bytes(base64.b64decode(answer.data))

    def _threw(self, params: msgspec.Raw, session: Session) -> None:
        self.errors.append(bytes(params).decode())

    def _logged(self, params: msgspec.Raw, session: Session) -> None:
        entry = msgspec.json.decode(params, type=_Entry).entry
        if entry.level == "error":
            self.errors.append(entry.text)


@asynccontextmanager
async def open_page(page: Path | str, width: int = 1280, height: int = 800) -> AsyncIterator[Page]:
    """Open a local file or a `file:` address in a window of `width` × `height` px; no host can be reached from it.

    Raises:
        MissingTool: Chromium is not installed.
        EarwitnessError: it does not start, or does not show the page.
    """
    url = page.absolute().as_uri() if isinstance(page, Path) else page
    async with temporary_home() as home:
        flags = [*chromium.offline_flags(), f"--window-size={width},{height}"]
        browser = await chromium.start(home, flags)
        targets = Targets()
        first: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

        def attached(session: Session) -> None:
            if session.kind == "page" and not first.done():
                first.set_result(session)

        targets.attached = attached
        try:
            await targets.open(browser.url)
            tab = Tab(targets, await asyncio.wait_for(first, _LOAD_S))
            shown = Page(tab)
            tab.session.post("Runtime.enable")
            tab.session.post("Log.enable")
            tab.session.post(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
            )
            await tab.enable()
            if error := await tab.go(url):
                raise EarwitnessError(f"{url}: chromium cannot show it: {error}")
            await asyncio.wait_for(tab.loaded(), _LOAD_S)
            yield shown
        finally:
            await targets.close()
            await browser.kill()


async def screenshot(page: Path | str, png: Path, width: int = 1280, height: int = 800, full: bool = False) -> None:
    """Write a picture of a local page to `png`; see `open_page`.

    Raises:
        MissingTool: Chromium is not installed.
        EarwitnessError: it does not start, or does not show the page.
    """
    async with open_page(page, width, height) as shown:
        await shown.screenshot(png, full)
