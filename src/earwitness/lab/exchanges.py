"""The ad exchanges: OpenRTB answers as the unmodified Prebid.js adapters `openx` and `ix` take them.

Facts: `openx` posts to rtb.openx.net/openrtbb/prebidjs and takes dollars; `ix` posts to
htlb.casalemedia.com/openrtb/pbjs and takes cents; both need `mtype: 1` in each bid.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from earwitness.lab.browsing import Answer, Hit, page, pixel, set_third_party_cookie
from earwitness.lab.draws import digest, identifier, pick
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.prices import Opportunity, price_usd
from earwitness.lab.truth import Truth
from earwitness.lab.world import Brand, Exchange, Site, Slot, World


@dataclass(frozen=True)
class _Offer:
    """A bid before it takes the exchange's own form: the quoted price, what a browser shows, and why."""

    quoted: float
    cpm_usd: float
    cpm_without_interest: float
    reason: str
    brand: Brand


class Exchanges:
    """All bidders of a world and the ad server that delivers what they sell."""

    def __init__(self, world: World, truth: Truth, state: PlatformState) -> None:
        self._world, self._truth, self._state = world, truth, state
        self._auctions = {(each.host, each.path): each for each in world.exchanges.values()}
        self._impressions = {(each.host, each.impression) for each in world.exchanges.values()}
        self._placements = {
            (bidder, number): (site, slot)
            for site in world.sites.values()
            for slot in site.slots
            for bidder, number in slot.placements.items()
        }
        self._brands = {_creative_id(world, brand): brand for brand in world.brands}

    def answer(self, hit: Hit) -> Answer | None:
        """The answer to a request that is the exchanges' or the ad server's; None where it is neither's."""
        if exchange := self._auctions.get((hit.host, hit.path)):
            return Answer("bid", self._bid(exchange, hit))
        if (hit.host, hit.path) in self._impressions:
            return Answer("pixel", pixel())
        if hit.host == self._world.ad_server_host and hit.path == self._world.creative_path:
            return Answer("creative", self._creative(hit))
        if hit.host == self._world.ad_server_host and hit.path == self._world.picture_path:
            return Answer("image", _picture(hit))
        return None

    # -- auctions

    def _bid(self, exchange: Exchange, hit: Hit) -> web.Response:
        try:
            asked = json.loads(hit.body)
            impressions = [(imp["id"], *self._placed(exchange, imp)) for imp in asked["imp"]]
        except (ValueError, KeyError, TypeError):
            return web.Response(status=400, headers=_cross_origin(hit))
        cookie = self._world.organisations[exchange.organisation].cookie
        assert cookie is not None
        known_as = hit.cookies.get(cookie.name)
        bids = []
        for impression, site, slot in impressions:
            round_number = hit.browsing.count("auction", site.site, slot.code, exchange.bidder)
            when = self._state.when(hit.profile)
            opportunity = Opportunity(hit.profile, when, site.site, slot.code, exchange.bidder, round_number)
            offer = self._offer(exchange, opportunity, known_as)
            self._log(opportunity, offer)
            if offer:
                bids.append(self._openrtb(exchange, opportunity, offer, slot) | {"impid": impression})
        answer: dict[str, Any] = {"id": asked.get("id", ""), "cur": "USD", "seatbid": []}
        if bids:
            answer["seatbid"] = [{"seat": "1", "bid": bids}]
        response = web.json_response(answer, headers=_cross_origin(hit))
        if known_as is None:
            minted = identifier(self._world.seed, cookie.shape, "cookie", exchange.organisation, hit.profile)
            set_third_party_cookie(response, cookie.name, minted, cookie.domain)
        return response

    def _placed(self, exchange: Exchange, imp: dict[str, Any]) -> tuple[Site, Slot]:
        """The slot that an impression is about, by the bidder's own number for it."""
        number = imp["tagid"] if exchange.bidder == "openx" else imp["banner"]["format"][0]["ext"]["siteID"]
        return self._placements[exchange.bidder, str(number)]

    def _offer(self, exchange: Exchange, opportunity: Opportunity, known_as: str | None) -> _Offer | None:
        price = price_usd(self._world, opportunity)
        if price is None:
            return None
        wanted = {brand.interest for brand in self._world.brands if brand.interest}
        interests = sorted(wanted & self._state.interests_behind(exchange.organisation, known_as))
        if interests:
            reason = f"interest {interests[0]}: {exchange.organisation} cookie matched to the platform's"
        elif self._state.is_matched(exchange.organisation, known_as):
            reason = "matched, no interest"
        else:
            reason = "not matched"
        quoted, shown = _rounded(exchange, price * (self._world.uplift if interests else 1.0))
        _, without = _rounded(exchange, price)
        brands = [brand for brand in self._world.brands if brand.interest == (interests[0] if interests else None)]
        brand = pick(self._world.seed, brands, "brand", *opportunity.key)
        return _Offer(quoted, shown, without, reason, brand)

    def _log(self, opportunity: Opportunity, offer: _Offer | None) -> None:
        self._truth.write(
            "truth_bids",
            profile=opportunity.profile,
            site=opportunity.site,
            slot=opportunity.slot,
            bidder=opportunity.bidder,
            status="bid" if offer else "no_bid",
            cpm_usd=offer.cpm_usd if offer else None,
            cpm_without_interest=offer.cpm_without_interest if offer else None,
            reason=offer.reason if offer else "no demand",
        )

    def _openrtb(self, exchange: Exchange, opportunity: Opportunity, offer: _Offer, slot: Slot) -> dict[str, Any]:
        seed, world = self._world.seed, self._world
        creative = _creative_id(world, offer.brand)
        buster = int.from_bytes(digest(seed, "buster", *opportunity.key)[:6], "big")
        shown = urlencode({"crid": creative, "w": slot.width, "h": slot.height, "cb": buster})
        counted = urlencode({"crid": creative, "cb": buster})
        markup = (
            f'<div><iframe src="https://{world.ad_server_host}{world.creative_path}?{escape(shown)}" '
            f'width="{slot.width}" height="{slot.height}" frameborder="0" scrolling="no"></iframe>'
            f'<img src="https://{exchange.host}{exchange.impression}?{escape(counted)}" width="1" height="1" alt="">'
            "</div>"
        )
        return {
            "id": identifier(seed, "uuid", "bid", *opportunity.key),
            "price": offer.quoted,
            "adm": markup,
            "crid": creative,
            "w": slot.width,
            "h": slot.height,
            "adomain": [world.organisations[offer.brand.organisation].domains[0]],
            "mtype": 1,
        }

    # -- the ad server

    def _creative(self, hit: Hit) -> web.Response:
        brand = self._brands.get(hit.query.get("crid", ""))
        if brand is None:
            return web.Response(status=404)
        name = escape(self._world.organisations[brand.organisation].name)
        picture = f"https://{self._world.ad_server_host}{self._world.picture_path}?" + urlencode(
            {"crid": hit.query["crid"], "cb": hit.query.get("cb", "")}
        )
        response = page(
            f'<!doctype html><html lang="en"><title>{name}</title>'
            '<body style="margin:0;font:14px sans-serif;background:#f4efe6">'
            f'<a href="https://{self._world.home_of(brand.organisation)}/offer" target="_blank">'
            f'<img src="{escape(picture)}" width="60" height="60" alt=""> <b>{name}</b> {escape(brand.text)}</a>'
            "</body></html>"
        )
        cookie = self._world.organisations["ad_server"].cookie
        if cookie and cookie.name not in hit.cookies:
            minted = identifier(self._world.seed, cookie.shape, "cookie", "ad_server", hit.profile)
            set_third_party_cookie(response, cookie.name, minted, cookie.domain)
        return response


def _creative_id(world: World, brand: Brand) -> str:
    return identifier(world.seed, "digits", "creative", brand.organisation)[:9]


def _rounded(exchange: Exchange, usd: float) -> tuple[float, float]:
    """The price as the exchange quotes it, and as its adapter shows it in dollars."""
    if exchange.cents:
        quoted = max(round(usd * 100, 2), 0.01)
        return quoted, quoted / 100
    quoted = max(round(usd, 4), 0.0001)
    return quoted, quoted


def _cross_origin(hit: Hit) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if hit.origin:
        headers |= {"Access-Control-Allow-Origin": hit.origin, "Access-Control-Allow-Credentials": "true"}
    return headers


def _picture(hit: Hit) -> web.Response:
    """A flat square whose colour belongs to the creative."""
    colour = digest(0, "colour", hit.query.get("crid", "")).hex()[:6]
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="60" height="60">'
        f'<rect width="60" height="60" fill="#{colour}"/></svg>'
    )
    return web.Response(text=drawing, content_type="image/svg+xml", headers={"Cache-Control": "no-store"})
