"""Every answer of every bidder, as the page's own Prebid.js keeps it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

import msgspec

from earwitness.crawl.cdp import CommandFailed
from earwitness.crawl.collectors.base import Collector
from earwitness.crawl.hops import Hop
from earwitness.crawl.tab import Tab
from earwitness.crawl.visit import Row, Visit
from earwitness.model.identity import row_id

_READ = files("earwitness.crawl.collectors").joinpath("prebid.js").read_text("utf-8")
_CARRIERS = ("fetch", "xhr")


class Bid(msgspec.Struct):
    """A bid, or the asking for one, as `prebid.js` (beside this module) reads it."""

    id: str | None = None
    ad: str | None = None
    auction: str | None = None
    slot: str | None = None
    bidder: str | None = None
    asked_by: list[str] = []
    cpm: float | None = None
    currency: str | None = None
    original_cpm: float | None = None
    original_currency: str | None = None
    dollars: float | None = None
    width: float | None = None
    height: float | None = None
    latency: float | None = None
    creative: str | None = None
    advertiser: str | None = None

    @property
    def price(self) -> float | None:
        """As bid: before the publisher's adjustments and conversions."""
        return self.cpm if self.original_cpm is None else self.original_cpm

    @property
    def price_currency(self) -> str | None:
        """What `price` is in."""
        return self.original_currency or self.currency

    @property
    def cpm_usd(self) -> float | None:
        """The price in dollars, where it was bid in dollars or Prebid.js itself can say."""
        if self.price_currency == "USD":
            return self.price
        return self.cpm if self.currency == "USD" else self.dollars


class Happened(msgspec.Struct):
    """One event of Prebid.js."""

    type: str
    at: float | None = None
    bids: list[Bid] = []


class Prebid(msgspec.Struct):
    """One Prebid.js of a page."""

    name: str
    version: str | None = None
    events: list[Happened] = []
    responses: list[Bid] = []
    no_bids: list[Bid] = []
    won: list[str | None] = []


@dataclass
class Opportunity:
    """One slot offered to one bidder in one auction, and how it ended."""

    auction: str
    slot: str
    bidder: str
    asked: list[Bid] = field(default_factory=list)
    answers: list[Bid] = field(default_factory=list)
    status: str = ""

    @property
    def best(self) -> Bid | None:
        """The highest bid."""
        return max(self.answers, key=lambda bid: bid.price or 0.0, default=None)


class BidsCollector(Collector):
    """Fills `bids`: for each slot and bidder of each auction one row, whether it bid, did not, or came too late."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._pages: list[Prebid] = []
        self._line = 0

    async def visit_started(self, visit: Visit) -> None:
        """Forget the last page."""
        self._pages = []

    async def page_quiet(self, visit: Visit, tab: Tab) -> None:
        """Read what Prebid.js knows."""
        try:
            raw = self.record.secrets.redact(await tab.evaluate_raw(_READ))
            self._pages = msgspec.json.decode(raw, type=list[Prebid])
        except (CommandFailed, msgspec.ValidationError) as error:
            detail = f"its Prebid.js cannot be read: {str(error).splitlines()[0][:200]}"
            self.record.gap(visit.plan.visit, "bids_unreadable", detail)
            return
        if self._pages:
            self._line = self.record.log.note("prebid", msgspec.Raw(raw))

    def rows(self, visit: Visit) -> Mapping[str, list[Row]]:
        """One row for each opportunity; a gap for each price that is not known in dollars."""
        rows: list[Row] = []
        for prebid in self._pages:
            found = opportunities(prebid)
            carriers = carrying(found, [hop for hop in visit.hops if hop.request])
            won = won_ads(prebid)
            auctions = {o.auction: n for n, o in reversed(list(enumerate(found)))}
            order = {auction: n for n, auction in enumerate(sorted(auctions, key=auctions.__getitem__))}
            for opportunity, carrier in zip(found, carriers, strict=True):
                place = (prebid.name, order[opportunity.auction], opportunity.slot, opportunity.bidder)
                rows.append(
                    {
                        "bid": row_id(self.record.profile, visit.plan.visit, "bid", *place),
                        "visit": visit.plan.visit,
                        "request": carrier.request if carrier else None,
                        "slot": opportunity.slot,
                        "bidder": opportunity.bidder,
                        "status": opportunity.status,
                        "won": any(bid.ad in won for bid in opportunity.answers),
                        "forced": False,
                        "locator": f"line {self._line}",
                        **self._priced(visit, opportunity),
                    }
                )
        self._pages = []
        return {"bids": rows}

    def _priced(self, visit: Visit, opportunity: Opportunity) -> Row:
        bid = opportunity.best
        if bid is None or opportunity.status != "bid":
            return {}
        if bid.cpm_usd is None:
            detail = f"{opportunity.bidder} bid in {bid.price_currency}, which Prebid.js does not convert"
            self.record.gap(visit.plan.visit, "currency", detail)
        sized = bid.width is not None and bid.height is not None
        return {
            "cpm_usd": bid.cpm_usd,
            "price": bid.price,
            "currency": bid.price_currency,
            "size": f"{bid.width:g}x{bid.height:g}" if sized else None,
            "latency_ms": bid.latency,
            "creative": bid.creative,
            "advertiser_domain": bid.advertiser,
        }


def opportunities(prebid: Prebid) -> list[Opportunity]:
    """What was asked of whom, in the order of asking, with how it ended.

    A bid that came after its auction had given up on it is a timeout; so is one still out when the page was read.
    """
    found: dict[tuple[str, str, str], Opportunity] = {}
    by_id: dict[str | None, Opportunity] = {}
    for event in prebid.events:
        if event.type == "bidRequested":
            for bid in event.bids:
                _opportunity(found, by_id, bid).asked.append(bid)
            continue
        for bid in event.bids:
            opportunity = by_id.get(bid.id)
            if opportunity is None:
                continue
            if event.type in ("bidResponse", "bidRejected") and opportunity.status != "timeout":
                opportunity.answers.append(bid)
                opportunity.status = "bid"
            elif event.type == "bidTimeout" and opportunity.status != "bid":
                opportunity.status = "timeout"
            elif event.type == "noBid" and not opportunity.status:
                opportunity.status = "no_bid"
    _from_answers(prebid, found, by_id)
    for opportunity in found.values():
        opportunity.status = opportunity.status or "timeout"
    return list(found.values())


def _from_answers(
    prebid: Prebid,
    found: dict[tuple[str, str, str], Opportunity],
    by_id: dict[str | None, Opportunity],
) -> None:
    """Answers that no event told of: old versions keep no events, and some pages let theirs expire."""
    for status, bids in (("bid", prebid.responses), ("no_bid", prebid.no_bids)):
        for bid in bids:
            opportunity = by_id.get(bid.id) or _opportunity(found, by_id, bid)
            if not opportunity.status:
                opportunity.status = status
                opportunity.answers += [bid] if status == "bid" else []


def _opportunity(
    found: dict[tuple[str, str, str], Opportunity],
    by_id: dict[str | None, Opportunity],
    bid: Bid,
) -> Opportunity:
    place = (bid.auction or "", bid.slot or "", bid.bidder or "")
    by_id[bid.id] = found.setdefault(place, Opportunity(*place))
    return found[place]


def won_ads(prebid: Prebid) -> set[str | None]:
    """The ads that were rendered."""
    told = (b.ad for event in prebid.events if event.type == "bidWon" for b in event.bids)
    return {*told, *prebid.won} - {None}


def carrying(found: Sequence[Opportunity], hops: Sequence[Hop]) -> list[Hop | None]:
    """For each opportunity the request that asked for it, or null.

    It is the first script-made request that names the bid's own id, in its address or body. Where none does, it is the
    one that names the bidder's request, the ad unit or its transaction, provided that it is the only such request which
    carries no other bidder's ids.
    """
    carriers = [hop for hop in hops if hop.kind in _CARRIERS]
    first = [next(_naming(carriers, [bid.id for bid in o.asked]), None) for o in found]
    taken: dict[int, set[str]] = defaultdict(set)
    for opportunity, hop in zip(found, first, strict=True):
        if hop is not None:
            taken[id(hop)].add(opportunity.bidder)
    result: list[Hop | None] = []
    for opportunity, hop in zip(found, first, strict=True):
        if hop is None:
            names = [name for bid in opportunity.asked for name in bid.asked_by]
            left = [other for other in _naming(carriers, names) if not taken[id(other)] - {opportunity.bidder}]
            hop = left[0] if len(left) == 1 else None
        result.append(hop)
    return result


def _naming(hops: Sequence[Hop], names: Sequence[str | None]) -> Iterator[Hop]:
    wanted = [name for name in names if name]
    for hop in hops:
        if any(name in hop.url or (hop.body is not None and name in hop.body) for name in wanted):
            yield hop
