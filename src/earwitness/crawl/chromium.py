"""Chromium as a child process: found, started on a profile directory, ended without leftovers."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from earwitness.crawl.cdp import BrowserGone
from earwitness.model.errors import EarwitnessError, MissingTool
from earwitness.model.network import Internet

_START_S = 30.0
_CLOSE_S = 10.0

# The browser's own calls home; the first rule that matches wins.
_GOOGLE = ("*.googleapis.com", "*.gstatic.com", "*.google.com", "*.gvt1.com", "*.gvt2.com")

_FLAGS = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--no-default-browser-check",
    # Debian starts Chromium with every packaged extension, a content blocker among them.
    "--disable-extensions",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-breakpad",
    "--disable-gpu",
    "--mute-audio",
    "--lang=en-US",
    "--window-size=1366,768",
    # Cookies are encrypted with a fixed key, so that a sealed profile opens in another place.
    "--password-store=basic",
    # A page that is left must end, not sleep on: its requests belong to its visit.
    "--disable-features=BackForwardCache,Translate,OptimizationHints,MediaRouter",
    # The only tab of a headless browser must not be throttled as if it were hidden.
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
)


def find_chromium() -> str:
    """Path of the Chromium program.

    Raises:
        MissingTool: there is none.
    """
    path = shutil.which("chromium")
    if path is None:
        raise MissingTool("chromium", "sudo apt-get install --no-install-recommends chromium")
    return path


def internet_flags(internet: Internet, profile: str) -> list[str]:
    """Flags that lead every host to the profile's gateway, and trust the internet's certificate authority."""
    gateway = internet.gateways[profile]
    rules = [f"MAP {host} ^NOTFOUND" for host in _GOOGLE]
    rules += [
        f"MAP *:443 {gateway}:{internet.https_port}",
        f"MAP *:80 {gateway}:{internet.http_port}",
    ]
    return [*_resolver(rules), f"--ignore-certificate-errors-spki-list={internet.ca_spki}"]


def offline_flags() -> list[str]:
    """Flags for a browser that may reach no host at all."""
    return _resolver([])


def _resolver(rules: list[str]) -> list[str]:
    # Whatever no rule leads elsewhere does not exist: nothing may leave this machine.
    return ["--host-resolver-rules=" + ",".join([*rules, "MAP * ^NOTFOUND"])]


class Chromium:
    """A running browser. `home` holds everything that it writes; its owner removes it afterwards."""

    def __init__(self, process: asyncio.subprocess.Process, home: Path, url: str) -> None:
        self.home, self.url = home, url
        self._process = process

    @property
    def pid(self) -> int:
        """Process id of the browser process; also the id of its process group."""
        return self._process.pid

    async def ended(self, seconds: float = _CLOSE_S) -> bool:
        """Whether the browser process ends of its own accord within `seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)
        return self._process.returncode is not None

    async def kill(self) -> None:
        """End the browser and all of its children at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()


def user_data(home: Path) -> Path:
    """Where, under `home`, the browser profile lies."""
    return home / "profile"


def seed_preferences(home: Path) -> None:
    """Let a fresh profile accept third-party cookies, as browsers outside of Debian's default do."""
    preferences = user_data(home) / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True, exist_ok=True)
    # 0 is "allow all"; without it Chromium 156 blocks third-party cookies.
    preferences.write_bytes(msgspec.json.encode({"profile": {"cookie_controls_mode": 0}}))


async def start(home: Path, flags: Sequence[str]) -> Chromium:
    """Start Chromium on the profile under `home` and wait until it can be spoken to.

    It ends when this process ends, in whatever way. Its messages go to `home/stderr.txt`.

    Raises:
        MissingTool: Chromium is not installed.
        EarwitnessError: it does not start.
    """
    program = find_chromium()
    data = user_data(home)
    data.mkdir(parents=True, exist_ok=True)
    port_file = data / "DevToolsActivePort"
    port_file.unlink(missing_ok=True)
    command = [program, *_FLAGS, *flags, f"--user-data-dir={data}", "about:blank"]
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")
    if shutil.which("setpriv"):
        # The kernel kills the browser when this process dies; its children follow the broken pipes.
        command = ["setpriv", "--pdeathsig", "KILL", *command]
    with (home / "stderr.txt").open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
            start_new_session=True,
        )
    browser = Chromium(process, home, "")
    try:
        browser.url = await asyncio.wait_for(_address(process, port_file), _START_S)
    except (TimeoutError, BrowserGone) as error:
        await browser.kill()
        raise EarwitnessError(f"chromium does not start: {_last_line(home / 'stderr.txt')}") from error
    except BaseException:
        await browser.kill()
        raise
    return browser


async def _address(process: asyncio.subprocess.Process, port_file: Path) -> str:
    """The WebSocket address, once the browser has written it down."""
    while process.returncode is None:
        lines = port_file.read_text().split() if port_file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.02)
    raise BrowserGone(f"chromium ended with {process.returncode}")


def _last_line(file: Path) -> str:
    lines = file.read_text("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
