"""Real Chromium over its debugging protocol, just enough to load pages: the lab's proof that it serves browsers."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from earwitness.model.network import Internet

CHROMIUM = shutil.which("chromium")
_NOWHERE = ("*.googleapis.com", "*.gstatic.com", "*.google.com")


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._numbers = socket, itertools.count(1)

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            answer: dict[str, Any] = await self._socket.receive_json()
            if answer.get("id") == number:
                return answer["result"]  # type: ignore[no-any-return]

    async def run(self, script: str) -> Any:
        found = await self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def go(self, url: str) -> None:
        await self.ask("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def until(self, condition: str, seconds: float = 10) -> None:
        for _ in range(int(seconds * 20)):
            if await self.run(f"location.href !== 'about:blank' && !!({condition})"):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(condition)


@asynccontextmanager
async def chromium(folder: Path, internet: Internet, profile: str) -> AsyncIterator[Page]:
    (folder / "Default").mkdir(parents=True)
    (folder / "Default/Preferences").write_text(json.dumps({"profile": {"cookie_controls_mode": 0}}))
    gateway = internet.gateways[profile]
    rules = [f"MAP {name} ^NOTFOUND" for name in _NOWHERE]
    rules += [f"MAP *:443 {gateway}:{internet.https_port}", f"MAP *:80 {gateway}:{internet.http_port}"]
    flags = [
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={folder}",
        f"--ignore-certificate-errors-spki-list={internet.ca_spki}",
        f"--host-resolver-rules={','.join(rules)}",
        *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--no-first-run", "--disable-gpu"),
        *(("--no-sandbox",) if os.geteuid() == 0 else ()),
    ]
    process = subprocess.Popen([str(CHROMIUM), *flags, "about:blank"], stderr=subprocess.DEVNULL)
    try:
        address = folder / "DevToolsActivePort"
        while not address.exists() or len(address.read_text().splitlines()) < 2:
            assert process.poll() is None, "Chromium ended"
            await asyncio.sleep(0.05)
        port = address.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                tab = next(each for each in await response.json() if each["type"] == "page")
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        process.wait()
