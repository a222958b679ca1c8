"""Readiness: is everything here that an audit needs?"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from earwitness.crawl import find_chromium
from earwitness.model.errors import MissingTool
from earwitness.parties import Directory
from earwitness.speakers import find_espeak

_GIB = 1 << 30
_DISK_GIB, _MEMORY_GIB = 1.0, 1.5


@dataclass(frozen=True)
class Check:
    """One thing that an audit needs: whether it is there, what was found, and what mends it (empty if nothing must)."""

    what: str
    fine: bool
    found: str
    mend: str = ""


def readiness() -> list[Check]:
    """Every program, list and resource that an audit needs on this machine."""
    return [
        _tool("chromium", find_chromium),
        _tool("espeak-ng", find_espeak),
        _tool("dumpcap", _find_dumpcap),
        _lists(),
        _enough("disk", shutil.disk_usage(tempfile.gettempdir()).free, _DISK_GIB, "free some space, or set TMPDIR"),
        _enough("memory", _free_memory(), _MEMORY_GIB, "end other programs: two browsers need about 1 GiB"),
    ]


def require_tools() -> None:
    """Make sure that collecting can start.

    Raises:
        MissingTool: the browser or the voice is not installed.
    """
    find_chromium()
    find_espeak()


def _find_dumpcap() -> str:
    path = shutil.which("dumpcap")
    if path is None:
        raise MissingTool("dumpcap", "sudo apt-get install --no-install-recommends tshark")
    return path


def _tool(name: str, find: Callable[[], str]) -> Check:
    try:
        path = find()
    except MissingTool as missing:
        return Check(name, False, "not installed", missing.install)
    asked = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=20)
    lines = asked.stdout.strip().splitlines()
    return Check(name, True, lines[0] if lines else path)


def _lists() -> Check:
    missing = [str(gap["subject"]) for gap in Directory.load().gaps]
    if missing:
        return Check("public lists", False, f"missing: {', '.join(missing)}", "make setup")
    return Check("public lists", True, "owners and trackers")


def _enough(what: str, free: int, needed: float, mend: str) -> Check:
    found = f"{free / _GIB:.1f} GiB free, {needed} needed"
    return Check(what, free >= needed * _GIB, found, "" if free >= needed * _GIB else mend)


def _free_memory() -> int:
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return 0
