"""A publisher page with the real Prebid.js and its unmodified adapters, and the exchanges that answer them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from aiohttp import web

from tests.crawl.small_internet import Answer, cookie, html, pixel, script

CHUNKS = Path(__file__).parents[2] / "node_modules" / "prebid.js" / "dist" / "chunks"
MODULES = ("openxBidAdapter", "ixBidAdapter", "pubmaticBidAdapter", "rubiconBidAdapter", "appnexusBidAdapter")
SYNC_DELAY_MS = 400

PAGE = """
<script>window.pbjs = window.pbjs || {que: []};</script>
<script src="/prebid.js"></script>
<div id=top></div><div id=side></div>
<script>
pbjs.que.push(() => {
  pbjs.setConfig({bidderTimeout: 700, userSync: {syncDelay: DELAY, syncsPerBidder: 5,
    filterSettings: {all: {bidders: '*', filter: 'include'}}}});
  pbjs.addAdUnits(['top', 'side'].map(code => ({code, mediaTypes: {banner: {sizes: [[300, 250]]}}, bids: [
    {bidder: 'openx', params: {delDomain: 'x-d.openx.net', unit: '540000001'}},
    {bidder: 'ix', params: {siteId: '1001'}},
    {bidder: 'pubmatic', params: {publisherId: '1001', adSlot: 'slot1'}},
    {bidder: 'rubicon', params: {accountId: 1001, siteId: 1, zoneId: 1}},
    {bidder: 'appnexus', params: {placementId: 13144370}},
  ]})));
  pbjs.requestBids({bidsBackHandler() {
    const best = pbjs.getHighestCpmBids('top')[0];
    if (!best) return;
    const frame = document.createElement('iframe');
    document.getElementById('top').appendChild(frame);
    pbjs.renderAd(frame.contentWindow.document, best.adId);
  }});
});
</script>
""".replace("DELAY", str(SYNC_DELAY_MS))


@cache
def bundle() -> bytes:
    """Prebid.js with some adapters, put together from the chunks that its package ships."""
    needs = json.loads((CHUNKS / "dependencies.json").read_text())
    names = ["prebid-core.js", *(f"{module}.js" for module in MODULES)]
    order = [names[0]]
    for name in names:
        order += [n for n in needs.get(name, []) if n not in order]
    order += [n for n in names if n not in order]
    source = "\n".join((CHUNKS / name).read_text() for name in order)
    return f"(function(){{\n{source}\n}})();pbjs.processQueue();".encode()


def auction_routes(prices: dict[tuple[str, str], float]) -> dict[str, Callable[[web.Request, bytes], Answer]]:
    """`prices` maps (bidder, slot) to dollars; who is not in it does not bid. appnexus answers too late."""

    def openrtb(bidder: str, scale: float = 1.0):
        def answer(request: web.Request, body: bytes) -> Answer:
            asked = json.loads(body)
            bids = []
            for slot, imp in zip(("top", "side"), asked["imp"], strict=True):
                if (bidder, slot) in prices:
                    bids.append(
                        {
                            "id": f"{bidder}-{slot}",
                            "impid": imp["id"],
                            "price": prices[bidder, slot] * scale,
                            "crid": f"creative-{bidder}",
                            "adomain": [f"brand-{bidder}.example"],
                            "adm": f"<img src='https://ads.{bidder}-brand.example/shown.gif'>",
                            "w": 300,
                            "h": 250,
                            "mtype": 1,
                        }
                    )
            if not bids:
                return 204, "text/plain", b"", [cookie("uid", f"{bidder}-uid")]
            result = {"id": asked["id"], "cur": "USD", "seatbid": [{"bid": bids}]}
            return 200, "application/json", json.dumps(result).encode(), [cookie("uid", f"{bidder}-uid")]

        return answer

    def rubicon(request: web.Request, body: bytes) -> Answer:
        """One request for each slot; which one, nothing in it says: both get the same answer."""
        price = prices.get(("rubicon", "any"))
        ad = {
            "status": "ok",
            "size_id": "15",
            "cpm": price,
            "creative_id": "creative-rubicon",
            "impression_id": "i",
            "adomain": ["brand-rubicon.example"],
            "script": "1",
        }
        answer = {"status": "ok", "ads": [ad] if price else []}
        return 200, "application/json", json.dumps(answer).encode(), []

    async def too_late(request: web.Request, body: bytes) -> Answer:
        await asyncio.sleep(1.2)
        return 200, "application/json", b'{"version":"3.0.0","tags":[]}', []

    return {
        "paper.example/": lambda r, b: html(PAGE),
        "unsold.example/": lambda r, b: html("<script src='https://paper.example/prebid.js'></script>"),
        "paper.example/prebid.js": lambda r, b: script(bundle().decode()),
        "rtb.openx.net/openrtbb/prebidjs": openrtb("openx"),
        "htlb.casalemedia.com/openrtb/pbjs": openrtb("ix", 100),
        "hbopenbid.pubmatic.com/translator": openrtb("pubmatic"),
        "fastlane.rubiconproject.com/a/api/fastlane.json": rubicon,
        "ib.adnxs.com/ut/v3/prebid": too_late,
        "x-d.openx.net/w/1.0/pd": lambda r, b: html("<img src='https://sync.tracker-a.example/s.gif?u=1'>"),
        "ads.openx-brand.example/shown.gif": lambda r, b: pixel(),
    }
