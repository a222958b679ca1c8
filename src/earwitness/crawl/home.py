"""The temporary directory that one browser lives in."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

_PREFIX = "earwitness-browser-"
_TRIES = 20


@asynccontextmanager
async def temporary_home() -> AsyncIterator[Path]:
    """A directory readable by its owner only, removed afterwards whatever happens.

    Directories that killed processes left behind are removed, too: whoever is alive holds a lock on theirs.
    """
    _sweep()
    home = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (home / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield home
        finally:
            for _ in range(_TRIES):
                # A dying browser may still be writing.
                with suppress(OSError):
                    shutil.rmtree(home)
                if not home.exists():
                    break
                await asyncio.sleep(0.1)


def _sweep() -> None:
    for home in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (home / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(home)
