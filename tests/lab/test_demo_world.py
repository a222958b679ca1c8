"""World `demo` against a real browser: five unmodified adapters, their user syncs, their winners, and failing hosts."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from earwitness.lab import start
from earwitness.lab.world_file import load_world
from tests.lab.chromium import CHROMIUM, Page, chromium
from tests.lab.conftest import Running, enrol, truth

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")

_ANSWERS = """JSON.stringify({
  bids: Object.entries(pbjs.getBidResponses()).flatMap(([slot, found]) => found.bids.map(bid =>
    [slot, bid.bidder, bid.cpm, bid.currency, bid.width + 'x' + bid.height, bid.creativeId + ''])),
  none: Object.entries(pbjs.getNoBids()).flatMap(([slot, found]) => found.bids.map(bid => [slot, bid.bidder])),
  won: pbjs.getEvents().filter(each => each.eventType === 'adRenderSucceeded').map(each => each.args.bid.adUnitCode),
  failed: pbjs.getEvents().filter(each => each.eventType === 'adRenderFailed').length,
})"""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Running]:
    people = enrol(1)
    with start("demo", 1, tmp_path / "truth", people) as lab:
        yield Running(lab, tmp_path / "truth", iter(people))


async def _visit(page: Page, url: str) -> dict[str, list[list[object]]]:
    await page.go(url)
    await page.until("window.pbjs && pbjs.getEvents && pbjs.getEvents().some(each => each.eventType === 'auctionEnd')")
    # The syncs follow 300 ms later; a slow host takes 2.8 s, and what it sends on takes a moment more.
    await page.until("performance.now() > 3500 + (window.ended = window.ended || performance.now())")
    found: dict[str, list[list[object]]] = json.loads(await page.run(_ANSWERS))
    return found


async def test_all_five_adapters_bid_what_the_truth_says_sync_and_show_their_winners(
    demo: Running, tmp_path: Path
) -> None:
    world, person = load_world("demo", 1), next(demo.people)
    sites = [site for site in world.sites.values() if site.organisation in ("fourth_publisher", "fifth_publisher")]
    seen, none, won = {}, set(), Counter[str]()
    async with chromium(tmp_path / "browser", demo.lab.internet, person.profile) as page:
        demo.lab.announce(person.profile, "after", 1)
        for site in sites:
            found = await _visit(page, site.url)
            assert not found["failed"]
            seen |= {(site.site, *bid[:2]): tuple(bid[2:]) for bid in found["bids"]}
            none |= {(site.site, *pair) for pair in found["none"]}
            won.update(f"{site.site} {slot}" for slot in found["won"])

    rows = truth(demo.directory, "truth_bids", person.profile)
    assert len(rows) == 2 * 3 * 5
    by_key = {(row["site"], row["slot"], row["bidder"]): row for row in rows}
    sizes = {(site.site, slot.code): f"{slot.width}x{slot.height}" for site in sites for slot in site.slots}
    assert {key: row["cpm_usd"] for key, row in by_key.items() if row["status"] == "bid"} == {
        key: cpm for key, (cpm, *_) in seen.items()
    }
    assert {key for key, row in by_key.items() if row["status"] == "no_bid"} == none
    assert {bidder for *_, bidder in seen} == set(world.exchanges)
    creatives = {brand.creative for brand in world.brands}
    for (site_name, slot, _), (_, currency, size, creative) in seen.items():
        assert (currency, size) == ("USD", sizes[site_name, slot]) and creative in creatives

    served = truth(demo.directory, "truth_creatives", person.profile)
    assert won.keys() == {f"{row['site']} {row['slot']}" for row in served} and len(served) == len(won) == 6
    for row in served:
        best = max(
            offer for (where, slot, _), (offer, *_) in seen.items() if (where, slot) == (row["site"], row["slot"])
        )
        assert by_key[row["site"], row["slot"], row["bidder"]]["cpm_usd"] == best
    requests = truth(demo.directory, "truth_requests", person.profile)
    assert not [row["url"] for row in requests if row["kind"] == "unknown"]
    asked = {
        site.organisation: {row["url"].partition("?")[0] for row in requests if row["visit_site"] == site.site}
        for site in sites
    }  # type: ignore[attr-defined]
    frames = {
        "https://u.openx.net/w/1.0/pd",
        "https://js-sec.indexww.com/um/ixmatch.html",
        "https://acdn.adnxs.com/dmp/async_usersync.html",
        "https://eus.rubiconproject.com/usync.html",
        "https://ads.pubmatic.com/AdServer/js/user_sync.html",
    }
    pictures = {
        "https://u.openx.net/w/1.0/pd",
        "https://dsum.casalemedia.com/pbusermatch",
        "https://px.ads.linkedin.com/setuid",
        "https://image8.pubmatic.com/AdServer/ImgSync",
    }
    assert frames <= asked["fourth_publisher"] and not (pictures - frames) & asked["fourth_publisher"]
    assert pictures <= asked["fifth_publisher"] and not (frames - pictures) & asked["fifth_publisher"]
