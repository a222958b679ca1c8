"""The ad server: what a winner's frame shows, and the truth of what was served to whom."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

from aiohttp import web

from earwitness.lab.browsing import Answer, Hit, page, set_third_party_cookie
from earwitness.lab.draws import digest, identifier
from earwitness.lab.faults import delivers
from earwitness.lab.prices import Opportunity
from earwitness.lab.truth import Truth
from earwitness.lab.world import Brand, Exchange, Slot, World


class AdServer:
    """Delivers the ads that the exchanges sold: a page in a frame, for some ads with another frame inside."""

    def __init__(self, world: World, truth: Truth) -> None:
        self._world, self._truth = world, truth
        self._brands = {brand.creative: brand for brand in world.brands}
        self._sold: dict[tuple[str, str], Opportunity] = {}

    def markup(self, exchange: Exchange, opportunity: Opportunity, brand: Brand, slot: Slot) -> str:
        """The HTML of a bid: a frame at the ad server and the exchange's impression pixel. The sale is remembered."""
        world = self._world
        buster = str(int.from_bytes(digest(world.seed, "buster", *opportunity.key)[:6], "big"))
        self._sold[opportunity.profile, buster] = opportunity
        shown = urlencode({"crid": brand.creative, "w": slot.width, "h": slot.height, "cb": buster})
        counted = urlencode({"crid": brand.creative, "cb": buster})
        return (
            f"<div>{_frame(world, world.creative_path, shown, slot.width, slot.height)}"
            f'<img src="https://{exchange.host}{exchange.impression}?{escape(counted)}" width="1" height="1" alt="">'
            "</div>"
        )

    def answer(self, hit: Hit) -> Answer | None:
        """The answer to a request for an ad or its picture; None where it is for neither."""
        world = self._world
        if hit.host != world.ad_server_host:
            return None
        if hit.path == world.picture_path:
            return Answer("image", _picture(hit.query.get("crid", "")))
        if hit.path not in (world.creative_path, world.inner_path):
            return None
        brand = self._brands.get(hit.query.get("crid", ""))
        if brand is None:
            return Answer("creative", web.Response(status=404))
        if brand.nested and hit.path == world.creative_path:
            inner = _frame(world, world.inner_path, urlencode(hit.query), *_size(hit))
            response = page(f'<!doctype html><title></title><body style="margin:0">{inner}</body>')
        else:
            response = self._shown(brand, hit)
        cookie = world.organisations["ad_server"].cookie
        if cookie and cookie.name not in hit.cookies:
            minted = identifier(world.seed, cookie.shape, "cookie", "ad_server", hit.profile)
            set_third_party_cookie(response, cookie.name, minted, cookie.domain)
        return Answer("creative", response)

    def _shown(self, brand: Brand, hit: Hit) -> web.Response:
        world, buster = self._world, hit.query.get("cb", "")
        advertiser = world.organisations[brand.organisation].name
        sold = self._sold.get((hit.profile, buster))
        if sold and delivers(hit.fault):
            self._truth.write(
                "truth_creatives",
                profile=hit.profile,
                site=sold.site,
                slot=sold.slot,
                bidder=sold.bidder,
                creative=brand.creative,
                advertiser=advertiser,
                category=brand.interest,
                landing_url=brand.landing,
            )
        name = escape(advertiser)
        picture = f"https://{world.ad_server_host}{world.picture_path}?" + urlencode(
            {"crid": brand.creative, "cb": buster}
        )
        side = min(60, max(40, _size(hit)[1] - 20))
        return page(
            f'<!doctype html><html lang="en"><title>{name}</title>'
            '<body style="margin:0;font:14px sans-serif;background:#f4efe6">'
            f'<a href="{escape(brand.landing)}" target="_blank">'
            f'<img src="{escape(picture)}" width="{side}" height="{side}" alt=""> '
            f"<b>{name}</b> {escape(brand.text)}</a></body></html>"
        )


def _frame(world: World, path: str, query: str, width: int, height: int) -> str:
    return (
        f'<iframe src="https://{world.ad_server_host}{path}?{escape(query)}" '
        f'width="{width}" height="{height}" frameborder="0" scrolling="no"></iframe>'
    )


def _size(hit: Hit) -> tuple[int, int]:
    """The size in pixels that a request for an ad names."""
    width, height = hit.query.get("w", ""), hit.query.get("h", "")
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else (300, 250)


def _picture(creative: str) -> web.Response:
    """A drawing that belongs to the creative: three shapes on a square, all from its number."""
    raw = digest(0, "picture", creative)
    back, first, second = (f"#{raw[start : start + 3].hex()}" for start in (0, 3, 6))
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 60" width="60" height="60">'
        f'<rect width="60" height="60" fill="{back}"/>'
        f'<circle cx="{12 + raw[9] % 36}" cy="{12 + raw[10] % 36}" r="{6 + raw[11] % 14}" fill="{first}"/>'
        f'<path d="M{raw[12] % 60} 0L60 {raw[13] % 60}L{raw[14] % 60} 60Z" fill="{second}" fill-opacity=".8"/></svg>'
    )
    return web.Response(text=drawing, content_type="image/svg+xml", headers={"Cache-Control": "no-store"})
