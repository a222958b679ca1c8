"""The report in a real browser: it opens offline, and a number leads down to the request that it came from."""

from pathlib import Path

import pytest

from earwitness.crawl import open_page

from .conftest import query

pytestmark = pytest.mark.e2e
PICTURES = Path(__file__).parents[2] / "build"


async def test_the_first_screen_says_what_was_found(audit):
    PICTURES.mkdir(exist_ok=True)
    async with open_page(Path(audit.answer["report"])) as page:
        shown = await page.evaluate(
            "[...document.querySelectorAll('main p, main li, header p, [role=note], aside, section p')]"
            ".filter(e => e.getBoundingClientRect().top >= 0 && e.getBoundingClientRect().bottom <= innerHeight)"
            ".map(e => e.innerText).join('\\n')"
        )
        for finding in audit.answer["findings"]:
            assert finding["claim"] in shown.replace("\xa0", " "), f"not on the first screen: {finding['claim']}"
        assert "simulated" in (await page.evaluate("document.body.innerText.slice(0, 300)")).lower()
        await page.screenshot(PICTURES / "report.png")
        assert page.errors == []
    assert (PICTURES / "report.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("width", [390, 1280])
async def test_it_fits_its_window(audit, width):
    async with open_page(Path(audit.answer["report"]), width=width) as page:
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.screenshot(PICTURES / f"report-{width}.png", full=True)
        assert page.errors == []


async def test_a_number_leads_to_its_query_and_its_evidence(audit):
    async with open_page(Path(audit.answer["report"])) as page:
        target = await page.evaluate(
            "document.querySelector('#sharing button[popovertarget]').getAttribute('popovertarget')"
        )
        await page.click("#sharing button[popovertarget]")
        opened = await page.evaluate(f"document.getElementById({target!r}).innerText")
        assert await page.evaluate(f"document.getElementById({target!r}).matches(':popover-open')")
        assert "select" in opened
        proofs = {row["evidence"] for row in query(audit.directory, "select distinct evidence from syncs")}
        assert any(proof[:12] in opened for proof in proofs), opened[:2000]


async def test_nothing_is_fetched_from_anywhere(audit):
    async with open_page(Path(audit.answer["report"])) as page:
        fetched = await page.evaluate(
            "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
        )
        assert fetched == []
