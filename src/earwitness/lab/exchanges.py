"""The ad exchanges: who bids how much for which slot, told in each adapter's own form (`bid_formats`)."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from earwitness.lab.ad_server import AdServer
from earwitness.lab.bid_formats import Asked, Bid, answer_document, asked_slots
from earwitness.lab.browsing import Answer, Hit, pixel, set_third_party_cookie
from earwitness.lab.draws import identifier, pick
from earwitness.lab.faults import SLOW
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.prices import Opportunity, price_usd
from earwitness.lab.truth import Truth
from earwitness.lab.world import Brand, Exchange, Slot, World
from earwitness.model.errors import BadInput


@dataclass(frozen=True)
class _Offer:
    """A bid before it takes the exchange's own form: the quoted price, what a browser shows, and why."""

    quoted: float
    cpm_usd: float
    cpm_without_interest: float
    reason: str
    brand: Brand


class Exchanges:
    """All bidders of a world."""

    def __init__(self, world: World, truth: Truth, state: PlatformState, ads: AdServer) -> None:
        self._world, self._truth, self._state, self._ads = world, truth, state, ads
        self._auctions = {(each.host, each.path): each for each in world.exchanges.values()}
        self._impressions = {(each.host, each.impression) for each in world.exchanges.values()}
        self._placements = {
            (bidder, number): (site, slot)
            for site in world.sites.values()
            for slot in site.slots
            for bidder, number in slot.placements.items()
        }

    def answer(self, hit: Hit) -> Answer | None:
        """The answer to a request that is the exchanges'; None where it is not."""
        if exchange := self._auctions.get((hit.host, hit.path)):
            return Answer("bid", self._bid(exchange, hit))
        if (hit.host, hit.path) in self._impressions:
            return Answer("pixel", pixel())
        return None

    def _bid(self, exchange: Exchange, hit: Hit) -> web.Response:
        try:
            asked = asked_slots(exchange.bidder, hit)
            placed = [(slot, *self._placements[exchange.bidder, slot.placement]) for slot in asked]
        except (BadInput, KeyError):
            return web.Response(status=400, headers=cross_origin(hit))
        cookie = self._world.organisations[exchange.organisation].cookie
        assert cookie is not None
        known_as = hit.cookies.get(cookie.name)
        bids = []
        for asked_for, site, slot in placed:
            round_number = hit.browsing.count("auction", site.site, slot.code, exchange.bidder)
            when = self._state.when(hit.profile)
            opportunity = Opportunity(hit.profile, when, site.site, slot.code, exchange.bidder, round_number)
            offer = self._offer(exchange, opportunity, known_as)
            self._log(opportunity, offer, hit.fault)
            if offer:
                bids.append(self._made(exchange, opportunity, offer, asked_for, slot))
        answer = answer_document(exchange.bidder, asked, bids, exchange.seller)
        response = web.json_response(answer, headers=cross_origin(hit))
        if known_as is None:
            minted = identifier(self._world.seed, cookie.shape, "cookie", exchange.organisation, hit.profile)
            set_third_party_cookie(response, cookie.name, minted, cookie.domain)
        return response

    def _offer(self, exchange: Exchange, opportunity: Opportunity, known_as: str | None) -> _Offer | None:
        price = price_usd(self._world, opportunity)
        if price is None:
            return None
        uplift = self._world.uplift
        wanted = {interest for interest, factor in uplift.items() if factor != 1}
        interests = sorted(wanted & self._state.interests_behind(exchange.organisation, known_as))
        if interests:
            reason = f"interest {interests[0]}: {exchange.organisation} cookie matched to the platform's"
        elif self._state.is_matched(exchange.organisation, known_as):
            reason = "matched, no interest"
        else:
            reason = "not matched"
        quoted, shown = _rounded(exchange, price * (uplift[interests[0]] if interests else 1.0))
        _, without = _rounded(exchange, price)
        brands = [brand for brand in self._world.brands if brand.interest == (interests[0] if interests else None)]
        brand = pick(self._world.seed, brands, "brand", *opportunity.key)
        return _Offer(quoted, shown, without, reason, brand)

    def _log(self, opportunity: Opportunity, offer: _Offer | None, fault: str | None) -> None:
        """Note what the page gets to know; an exchange that fails answers nothing, whatever it would have bid."""
        heard = offer if fault is None else None
        reason = offer.reason if offer else "no demand"
        self._truth.write(
            "truth_bids",
            profile=opportunity.profile,
            site=opportunity.site,
            slot=opportunity.slot,
            bidder=opportunity.bidder,
            status="timeout" if fault == SLOW else "bid" if heard else "no_bid",
            cpm_usd=heard.cpm_usd if heard else None,
            cpm_without_interest=heard.cpm_without_interest if heard else None,
            reason=f"fault: {fault}" if fault else reason,
        )

    def _made(self, exchange: Exchange, opportunity: Opportunity, offer: _Offer, asked: Asked, slot: Slot) -> Bid:
        return Bid(
            asked=asked,
            bid=identifier(self._world.seed, "uuid", "bid", *opportunity.key),
            quoted=offer.quoted,
            markup=self._ads.markup(exchange, opportunity, offer.brand, slot),
            creative=offer.brand.creative,
            advertiser_domain=self._world.organisations[offer.brand.organisation].domains[0],
            width=slot.width,
            height=slot.height,
        )


def _rounded(exchange: Exchange, usd: float) -> tuple[float, float]:
    """The price as the exchange quotes it, and as its adapter shows it in dollars."""
    if exchange.cents:
        quoted = max(round(usd * 100, 2), 0.01)
        return quoted, quoted / 100
    quoted = max(round(usd, 4), 0.0001)
    return quoted, quoted


def cross_origin(hit: Hit) -> dict[str, str]:
    """The headers that let the page that asked read the answer, cookies included."""
    headers = {"Cache-Control": "no-store"}
    if hit.origin:
        headers |= {"Access-Control-Allow-Origin": hit.origin, "Access-Control-Allow-Credentials": "true"}
    return headers
