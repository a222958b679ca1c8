from __future__ import annotations

from pathlib import Path

import pytest

from earwitness.crawl import open_page, screenshot
from earwitness.model.errors import EarwitnessError

PAGE = """<!doctype html><meta charset=utf-8><body style="margin:0;background:#00f">
<button id=more style="margin-top:2000px" onclick="document.title = 'clicked'">more</button><input id=field>
<script>fetch('https://elsewhere.example/').catch(() => { window.offline = true; }); undefined_function();</script>"""


def size_of(png: Path) -> tuple[int, int]:
    data = png.read_bytes()
    assert data.startswith(b"\x89PNG")
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


async def test_a_local_page_is_driven_offline(tmp_path: Path):
    file = tmp_path / "a page.html"
    file.write_text(PAGE)
    async with open_page(file, 640, 480) as page:
        assert await page.evaluate("[innerWidth, innerHeight]") == [640, 480]
        await page.click("#more")
        assert await page.evaluate("document.title") == "clicked"
        await page.click("#field")
        await page.type("typed")
        assert await page.evaluate("document.querySelector('#field').value") == "typed"
        assert (
            await page.evaluate("new Promise(r => setInterval(() => window.offline && r('offline'), 10))") == "offline"
        )
        assert any("undefined_function" in error for error in page.errors)
        await page.screenshot(tmp_path / "window.png")
        await page.screenshot(tmp_path / "full.png", full=True)
    assert size_of(tmp_path / "window.png") == (640, 480)
    assert size_of(tmp_path / "full.png")[1] > 2000


async def test_a_missing_page_is_an_error(tmp_path: Path):
    with pytest.raises(EarwitnessError, match="ERR_FILE_NOT_FOUND"):
        await screenshot(tmp_path / "none.html", tmp_path / "none.png")
