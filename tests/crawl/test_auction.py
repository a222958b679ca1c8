"""Bids of the real Prebid.js with unmodified adapters, against the exchanges' own books."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from earwitness.crawl import VisitPlan, run_pass
from tests.crawl.auction import CHUNKS, auction_routes
from tests.crawl.small_internet import SmallInternet, serve

pytestmark = pytest.mark.skipif(not CHUNKS.exists(), reason="node_modules has no prebid.js: run `npm ci`")

PRICES = {
    ("openx", "top"): 1.25,
    ("openx", "side"): 0.123456,
    ("ix", "top"): 2.5,
    ("pubmatic", "side"): 3.0,
    ("rubicon", "any"): 0.7,
}


@pytest_asyncio.fixture
async def exchanges(tmp_path: Path) -> AsyncIterator[SmallInternet]:
    folder = tmp_path / "servers"
    folder.mkdir()
    running = await serve(folder, more=auction_routes(PRICES))
    yield running.small
    await running.stop()


async def test_each_slot_and_bidder_is_one_row(exchanges: SmallInternet, tmp_path: Path):
    result = await run_pass(
        profile="p1",
        pass_id="a",
        visits=[
            VisitPlan("a/1", "paper", "https://paper.example/", "before", 1, 1),
            VisitPlan("a/2", "quiet", "https://unsold.example/", "before", 1, 2),
        ],
        internet=exchanges.internet,
        snapshot=None,
        sealed=tmp_path / "sealed",
        sign_in=None,
        events=tmp_path / "events",
        token_key=b"k",
    )
    sold, unsold = result.rows["visits"]
    assert (sold["status"], unsold["status"]) == ("done", "no_bids")
    assert sold["reason"] == "loaded, auctions ended (1), user syncs fired, network quiet"
    assert unsold["reason"] == "loaded, no auction began, network quiet"

    bids = {(b["bidder"], b["slot"]): b for b in result.rows["bids"]}
    assert len(bids) == len(result.rows["bids"]) == 10
    prices = {key: b["cpm_usd"] for key, b in bids.items() if b["status"] == "bid"}
    assert prices == pytest.approx(
        {
            ("openx", "top"): 1.25,
            ("openx", "side"): 0.123456,
            ("ix", "top"): 2.5,
            ("pubmatic", "side"): 3.0,
            ("rubicon", "top"): 0.7,
            ("rubicon", "side"): 0.7,
        },
        abs=1e-12,
    )
    statuses = {key: b["status"] for key, b in bids.items() if b["status"] != "bid"}
    assert statuses == {
        ("ix", "side"): "no_bid",
        ("pubmatic", "top"): "no_bid",
        ("appnexus", "top"): "timeout",
        ("appnexus", "side"): "timeout",
    }
    assert [key for key, b in bids.items() if b["won"]] == [("ix", "top")]
    best = bids["openx", "top"]
    assert (best["currency"], best["price"], best["size"]) == ("USD", 1.25, "300x250")
    assert (best["creative"], best["advertiser_domain"]) == ("creative-openx", "brand-openx.example")
    assert 0 < best["latency_ms"] < 700
    assert not any(b["forced"] for b in bids.values())

    # Each row names the request that carried it.
    requests = {r["request"]: r for r in result.rows["requests"]}
    hosts = {bidder: {requests[b["request"]]["host"] for k, b in bids.items() if k[0] == bidder} for bidder, _ in bids}
    assert hosts == {
        "openx": {"rtb.openx.net"},
        "ix": {"htlb.casalemedia.com"},
        "pubmatic": {"hbopenbid.pubmatic.com"},
        "rubicon": {"fastlane.rubiconproject.com"},
        "appnexus": {"ib.adnxs.com"},
    }
    assert bids["rubicon", "top"]["request"] != bids["rubicon", "side"]["request"]

    # The user syncs, which fire after Prebid's delay, are in the record.
    syncs = [r["url"] for r in requests.values() if r["url"].startswith("https://x-d.openx.net/w/1.0/pd")]
    assert len(syncs) == 1
    assert len(exchanges.asked("x-d.openx.net/w/1.0/pd")) == 1

    # The object that the rows were read from is in the evidence.
    lines = (tmp_path / "events").read_text().splitlines()
    note = json.loads(lines[int(best["locator"].removeprefix("line ")) - 1])
    assert note["note"] == "prebid"
    assert note["data"][0]["version"].startswith("v")
