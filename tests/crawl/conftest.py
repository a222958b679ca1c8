"""Fixtures of the crawl room's tests: a small internet, and browsers found and counted by their processes."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.crawl.small_internet import SmallInternet, serve


@pytest_asyncio.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallInternet]:
    folder = tmp_path / "servers"
    folder.mkdir()
    running = await serve(folder)
    yield running.small
    await running.stop()


@pytest.fixture
def homes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of this test alone, in which browsers make their homes.

    Its path is short: Chromium puts a socket there, whose path the kernel limits to 108 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="homes-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)
