"""How an auction's events become one row for each slot and bidder, as transcripts."""

from __future__ import annotations

from earwitness.crawl.collectors.bids import Bid, Happened, Prebid, carrying, opportunities, won_ads
from earwitness.crawl.hops import Hop


def bid(number: str, slot: str = "top", bidder: str = "x", **more: object) -> Bid:
    return Bid(id=number, auction="A", slot=slot, bidder=bidder, **more)


def outcomes(prebid: Prebid) -> list[tuple[str, str, str, float | None]]:
    return [
        (o.slot, o.bidder, o.status, o.best.cpm_usd if o.best and o.status == "bid" else None)
        for o in opportunities(prebid)
    ]


def dollars(cpm: float) -> dict[str, object]:
    return {"cpm": cpm, "currency": "USD"}


def test_bid_no_bid_and_nothing():
    prebid = Prebid(
        "pbjs",
        events=[
            Happened("bidRequested", bids=[bid("1"), bid("2", "side"), bid("3", bidder="y")]),
            Happened("bidResponse", bids=[bid("1", **dollars(1.5))]),
            Happened("noBid", bids=[bid("2", "side")]),
        ],
    )
    assert outcomes(prebid) == [
        ("top", "x", "bid", 1.5),
        ("side", "x", "no_bid", None),
        ("top", "y", "timeout", None),
    ]


def test_after_the_time_out_is_too_late_and_before_it_is_not():
    prebid = Prebid(
        "pbjs",
        events=[
            Happened("bidRequested", bids=[bid("1"), bid("2", "side")]),
            Happened("bidResponse", bids=[bid("1", **dollars(1.0))]),
            Happened("bidTimeout", bids=[bid("1"), bid("2", "side")]),
            Happened("bidResponse", bids=[bid("2", "side", **dollars(9.0))]),
            Happened("noBid", bids=[bid("2", "side")]),
        ],
        responses=[bid("1", **dollars(1.0)), bid("2", "side", **dollars(9.0))],
    )
    assert outcomes(prebid) == [("top", "x", "bid", 1.0), ("side", "x", "timeout", None)]


def test_one_row_where_a_bidder_was_asked_twice_or_answered_twice():
    prebid = Prebid(
        "pbjs",
        events=[
            Happened("bidRequested", bids=[bid("1"), bid("2")]),
            Happened("noBid", bids=[bid("1")]),
            Happened("bidResponse", bids=[bid("2", **dollars(1.0), bidder="x")]),
            Happened("bidResponse", bids=[bid("2", **dollars(3.0), bidder="alternate")]),
        ],
    )
    assert outcomes(prebid) == [("top", "x", "bid", 3.0)]


def test_two_auctions_are_two_rows():
    second = Bid(id="2", auction="B", slot="top", bidder="x")
    events = [Happened("bidRequested", bids=[bid("1")]), Happened("bidRequested", bids=[second])]
    assert len(opportunities(Prebid("pbjs", events=events))) == 2


def test_without_events_the_answers_are_taken():
    prebid = Prebid("pbjs", responses=[bid("1", **dollars(2.0))], no_bids=[bid("2", "side")])
    assert outcomes(prebid) == [("top", "x", "bid", 2.0), ("side", "x", "no_bid", None)]


def test_the_price_is_as_bid_and_in_dollars_only_where_that_is_known():
    adjusted = Bid(cpm=0.9, currency="USD", original_cpm=1.0, original_currency="USD")
    assert (adjusted.price, adjusted.cpm_usd) == (1.0, 1.0)
    converted = Bid(cpm=1.1, currency="USD", original_cpm=1.0, original_currency="EUR")
    assert (converted.price, converted.price_currency, converted.cpm_usd) == (1.0, "EUR", 1.1)
    asked = Bid(cpm=1.0, currency="EUR", dollars=1.1)
    assert (asked.price, asked.cpm_usd) == (1.0, 1.1)
    assert Bid(cpm=1.0, currency="EUR").cpm_usd is None


def test_won_ads():
    prebid = Prebid("pbjs", events=[Happened("bidWon", bids=[bid("1", ad="ad1")])], won=["ad2", None])
    assert won_ads(prebid) == {"ad1", "ad2"}


def hop(url: str, body: str | None = None, kind: str = "fetch") -> Hop:
    from datetime import UTC, datetime

    return Hop(0, 1, datetime.now(UTC), "POST", url, kind, None, None, "script", body, "s", request=url)


def test_the_carrier_names_the_bid():
    asked = [bid("id-1", asked_by=["unit"]), bid("id-2", bidder="y", asked_by=["unit"]), bid("id-3", bidder="z")]
    found = opportunities(Prebid("pbjs", events=[Happened("bidRequested", bids=asked)]))
    hops = [
        hop("https://script.example/id-1.js", kind="script"),
        hop("https://x.example/", '{"imp": [{"id": "id-1", "tid": "unit"}]}'),
        hop("https://y.example/?tid=unit"),
        hop("https://analytics.example/", "id-1"),
    ]
    assert [c and c.url for c in carrying(found, hops)] == ["https://x.example/", "https://y.example/?tid=unit", None]


def test_an_ambiguous_carrier_is_none():
    asked = [bid("id-1", asked_by=["unit"])]
    found = opportunities(Prebid("pbjs", events=[Happened("bidRequested", bids=asked)]))
    assert carrying(found, [hop("https://x.example/?unit"), hop("https://y.example/?unit")]) == [None]
