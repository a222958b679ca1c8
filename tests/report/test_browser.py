"""The page in Chromium: accessible, usable with a keyboard, filtered, and printed."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from earwitness.crawl import find_chromium, open_page
from earwitness.crawl.page import Page
from earwitness.model.errors import MissingTool
from earwitness.report import write_report
from tests.report.test_gallery import png, with_ads

AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
_RUN_AXE = """
axe.run(document, {resultTypes: ['violations', 'passes']}).then(found => ({
  rules_passed: found.passes.length,
  serious: found.violations.filter(one => one.impact === 'serious' || one.impact === 'critical')
    .map(one => [one.id, one.nodes.length, one.nodes[0].html.slice(0, 300), one.nodes[0].failureSummary])}))
"""
_A4 = (680, 1001)
"""Width and height in px inside the margins of a page."""


def _has_chromium() -> bool:
    try:
        find_chromium()
    except MissingTool:
        return False
    return True


pytestmark = pytest.mark.skipif(not _has_chromium(), reason="Chromium is not installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(with_ads(tmp_path_factory.mktemp("browser") / "study", [png(300, 250, 1), png(300, 250, 2)]))


@asynccontextmanager
async def shown(report: Path, width: int = 1280, dark: bool = False) -> AsyncIterator[Page]:
    async with open_page(report, width=width) as page:
        if dark:
            features = [{"name": "prefers-color-scheme", "value": "dark"}]
            page._tab.session.post("Emulation.setEmulatedMedia", {"features": features})
            assert await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
        yield page


async def press(page: Page, key: str) -> None:
    code = {"Escape": 27, "Enter": 13, "Tab": 9}[key]
    for kind in ("keyDown", "keyUp"):
        event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
        if key == "Enter" and kind == "keyDown":
            event["text"] = "\r"
        page._tab.session.post("Input.dispatchKeyEvent", event)
    await asyncio.sleep(0.15)


@pytest.mark.skipif(not AXE.exists(), reason="node_modules/axe-core is not installed (npm ci)")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
async def test_axe_finds_nothing_serious(report: Path, width: int, dark: bool) -> None:
    async with shown(report, width, dark) as page:
        await page.evaluate(AXE.read_text("utf-8") + "\n;0")
        found = await page.evaluate(_RUN_AXE)
        assert found["serious"] == []
        assert found["rules_passed"] > 20
        await page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        await page.evaluate("document.querySelector('.origin[popover]').showPopover()")
        assert (await page.evaluate(_RUN_AXE))["serious"] == []


async def test_numbers_open_and_close_with_the_keyboard(report: Path) -> None:
    async with shown(report) as page:
        unreachable = (
            "[...document.querySelectorAll('button.number')].filter(b => b.tabIndex !== 0 || b.disabled).length"
        )
        assert await page.evaluate(unreachable) == 0
        await page.evaluate("document.querySelector('#sharing-table button.number').focus()")
        await press(page, "Enter")
        is_open = "document.querySelector(':popover-open')?.id ?? ''"
        opened = await page.evaluate(is_open)
        assert opened == await page.evaluate(
            "document.querySelector('#sharing-table button.number').popoverTargetElement.id"
        )
        await press(page, "Tab")
        assert await page.evaluate("document.activeElement.closest(':popover-open') !== null")
        await press(page, "Escape")
        assert await page.evaluate(is_open) == ""
        assert await page.evaluate("document.activeElement === document.querySelector('#sharing-table button.number')")
        assert page.errors == []


async def test_the_graph_can_be_read_and_filtered(report: Path) -> None:
    async with shown(report) as page:
        parts = "[...document.querySelectorAll('.graph .node, .graph .edge')]"
        assert await page.evaluate(f"{parts}.length") == 16
        assert await page.evaluate(f"{parts}.every(g => g.tabIndex === 0 && g.querySelector('title').textContent)")
        await page.evaluate(
            "(s => { s.value = [...s.options].find(o => o.text === 'Fernhill').value;"
            " s.dispatchEvent(new Event('change')) })(document.querySelector('.graph select')), 0"
        )
        on = "[...document.querySelectorAll('.edge:not(.off)')].map(g => g.querySelector('title').textContent)"
        assert await page.evaluate(on) == ["Fernhill → Quarry Data: 8 profiles", "Oxbow Ads → Fernhill: 9 profiles"]
        assert page.errors == []


async def test_the_page_fits_a_phone(report: Path) -> None:
    async with shown(report, 390) as page:
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_the_first_printed_page_holds_the_banner_and_the_findings(report: Path) -> None:
    async with shown(report, width=_A4[0]) as page:
        page._tab.session.post("Emulation.setEmulatedMedia", {"media": "print"})
        bottom = "document.querySelector('{}').getBoundingClientRect().bottom + scrollY"
        assert 0 < await page.evaluate(bottom.format(".banner")) < await page.evaluate(bottom.format("#findings"))
        assert await page.evaluate(bottom.format(".claims")) < _A4[1]
        assert await page.evaluate("getComputedStyle(document.querySelector('#findings')).breakAfter") == "page"
        rows = "[...document.querySelectorAll('.data tr')].every(r => getComputedStyle(r).breakInside === 'avoid')"
        assert await page.evaluate(rows)


def test_it_prints(report: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    command = [str(find_chromium()), "--headless", "--disable-gpu", f"--user-data-dir={tmp_path / 'home'}"]
    command += ["--no-pdf-header-footer", f"--print-to-pdf={pdf}", report.as_uri()]
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 30
