"""The lab against a real browser: unmodified Prebid.js auctions, its user syncs, and third-party cookies."""

import asyncio
import json
from pathlib import Path

import pytest

from earwitness.lab.world import World
from earwitness.model.network import Enrolled
from tests.lab.chromium import CHROMIUM, Page, chromium
from tests.lab.conftest import Running, truth

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")

_BIDS = """JSON.stringify(Object.entries(pbjs.getBidResponses()).flatMap(([slot, found]) =>
    found.bids.map(bid => [slot, bid.bidder, bid.cpm, bid.currency, bid.meta.advertiserDomains.length])))"""


async def _sign_in(page: Page, person: Enrolled) -> None:
    await page.go("https://api.amazon.com/ap/signin")
    for name, value in (("email", person.account), ("password", person.password)):
        await page.run(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")
    await page.run("document.querySelector('#sign-in').click()")
    await page.until("document.querySelector('#signed-in')")


async def _visit(page: Page, url: str) -> list[tuple[str, str, float]]:
    """Load a page, wait for its auction, its winners and its user syncs; what the page itself saw bid."""
    await page.go(url)
    await page.until("window.pbjs && pbjs.getEvents && pbjs.getEvents().some(each => each.eventType === 'auctionEnd')")
    await asyncio.sleep(1.2)
    bids = json.loads(await page.run(_BIDS))
    assert all(currency == "USD" and domains == 1 for _, _, _, currency, domains in bids)
    rendered = await page.run(
        "pbjs.getEvents().filter(each => each.eventType === 'adRenderSucceeded').length + "
        "pbjs.getEvents().filter(each => each.eventType === 'adRenderFailed').length * 1000"
    )
    assert rendered == len({slot for slot, *_ in bids})
    return [(slot, bidder, cpm) for slot, bidder, cpm, *_ in bids]


async def test_auctions_syncs_and_cookies_are_as_the_truth_says(
    running: Running, person: Enrolled, world: World, tmp_path: Path
) -> None:
    sites = list(world.sites.values())
    seen = []
    async with chromium(tmp_path / "browser", running.lab.internet, person.profile) as page:
        await _sign_in(page, person)
        for site in sites:
            running.lab.announce(person.profile, "after", 1)
            seen += [(site.site, *bid) for bid in await _visit(page, site.url)]
        cookies = (await page.ask("Network.getAllCookies"))["cookies"]

    bids = truth(running.directory, "truth_bids", person.profile)
    assert len(bids) == 12
    held = {(row["site"], row["slot"], row["bidder"]): row["cpm_usd"] for row in bids if row["status"] == "bid"}
    assert {(site, slot, bidder): cpm for site, slot, bidder, cpm in seen} == held

    # Every send that carries an identifier was performed on every page, the one that only a script can do included.
    syncs = truth(running.directory, "truth_syncs", person.profile)
    arrivals = sum(len(send.carries) for send in world.sends.values())
    assert len(syncs) == arrivals * len(sites)
    by_script = {row["identifier"] for row in syncs if row["receiver_host"] == world.endpoints["script_pixel"].host}
    kept = {(cookie["domain"], cookie["name"]): cookie["value"] for cookie in cookies}
    tracker = world.organisations["first_tracker"].cookie
    assert tracker is not None
    assert by_script == {kept[f".{tracker.domain}", tracker.name]}
    for organisation in world.organisations.values():
        if organisation.cookie:
            assert (f".{organisation.cookie.domain}", organisation.cookie.name) in kept
    reasons = {row["bidder"]: row["reason"] for row in bids}
    assert set(reasons.values()) <= {"matched, no interest", "no demand"}

    requests = truth(running.directory, "truth_requests", person.profile)
    assert not [row["url"] for row in requests if row["kind"] == "unknown"]
    visits = [[row for row in requests if row["visit_site"] == site.site] for site in sites]
    assert all(len(visit) == 38 for visit in visits)
