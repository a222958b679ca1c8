"""Browsers as the kernel sees them."""

from __future__ import annotations

import os
from pathlib import Path


def browsers(folder: Path) -> list[int]:
    """Living processes whose command line mentions a browser home under `folder`, the browser process first."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(folder).encode() in command and b"--user-data-dir" in command and state != "Z":
            found.append((b"--type=" in command, int(entry.name)))
    return [pid for _, pid in sorted(found)]
