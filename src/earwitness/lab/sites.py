"""The publishers' pages, with a real Prebid.js auction, and the plain pages of everybody else."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from aiohttp import web

from earwitness.lab.browsing import YEAR_S, Answer, Hit, page
from earwitness.lab.consent import consent_string
from earwitness.lab.draws import digest
from earwitness.lab.matching import Baggage, Matching
from earwitness.lab.truth import now_us
from earwitness.lab.world import Site, World

PICTURES = 6
_CACHED = {"Cache-Control": "public, max-age=3600"}


class Sites:
    """What ordinary web sites answer: documents, their style, their pictures, and the header-bidding library."""

    def __init__(self, world: World, matching: Matching, prebid: bytes) -> None:
        self._world, self._matching, self._prebid = world, matching, prebid
        self._publishers = {site.host: site for site in world.sites.values()}
        vendors = {skill.policy_url.split("/")[2] for skill in world.skills.values()}
        self._plain = vendors | {world.home_of(brand.organisation) for brand in world.brands}

    def answer(self, hit: Hit) -> Answer | None:
        """The answer to a request for a page or one of its parts; None where it is for neither."""
        if hit.host == self._world.asset_host:
            return self._asset(hit)
        site = self._publishers.get(hit.host)
        if site and hit.path == "/":
            hit.browsing.open(site.site)
            return Answer("document", self._document(site, hit))
        if hit.host in self._plain:
            return Answer("document", self._plain_page(hit))
        return None

    def _document(self, site: Site, hit: Hit) -> web.Response:
        world = self._world
        now = now_us()
        consent = hit.cookies.get(world.consent_cookie) or consent_string(now)
        first_visit = hit.cookies.get(world.first_visit_cookie) or str(now // 1000)
        tags = self._matching.page_tags(hit, Baggage(consent, first_visit))
        response = page(_publisher_page(world, site, consent, tags))
        for name, value in ((world.consent_cookie, consent), (world.first_visit_cookie, first_visit)):
            if name not in hit.cookies:
                cookie = f"{name}={value}; Path=/; Max-Age={YEAR_S}; Secure; SameSite=Lax"
                response.headers.add("Set-Cookie", cookie)
        return response

    def _asset(self, hit: Hit) -> Answer | None:
        if hit.path == "/prebid.js":
            found = web.Response(body=self._prebid, content_type="application/javascript", headers=_CACHED)
            return Answer("script", found)
        if hit.path == "/page.css":
            return Answer("style", web.Response(text=_STYLE, content_type="text/css", headers=_CACHED))
        stem, _, number = hit.path.strip("/").removesuffix(".svg").partition("/")
        if stem in self._world.sites and number in map(str, range(PICTURES)):
            return Answer("image", _picture(self._world.seed, stem, number))
        return None

    def _plain_page(self, hit: Hit) -> web.Response:
        name = escape(self._world.organisations[self._world.owner_of(hit.host)].name)
        return page(
            f'<!doctype html><html lang="en"><title>{name}</title><h1>{name}</h1>'
            f"<p>This is the page of {name}.</p></html>"
        )


def _publisher_page(world: World, site: Site, consent: str, tags: list[str]) -> str:
    name = escape(world.organisations[site.organisation].name)
    assets = f"https://{world.asset_host}"
    slots = "".join(
        f'<div id="{slot.code}" style="width:{slot.width}px;height:{slot.height}px"></div>' for slot in site.slots
    )
    pictures = "".join(
        f'<img src="{assets}/{site.site}/{number}.svg" width="120" height="80" alt="">' for number in range(PICTURES)
    )
    scripts = "".join(f'<script async src="{escape(tag)}"></script>' for tag in tags)
    auction = _AUCTION.replace("UNITS", _in_script(_ad_units(world, site))).replace(
        "CONFIG", _in_script(_prebid_config(world, site, consent))
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<link rel="icon" href="data:,"><link rel="stylesheet" href="{assets}/page.css">'
        f'<script>window.pbjs=window.pbjs||{{que:[]}};</script><script async src="{assets}/prebid.js"></script></head>'
        f"<body><h1>{name}</h1><p>News, weather and sport.</p>{slots}<div>{pictures}</div>"
        f"<script>{auction}</script>{scripts}</body></html>"
    )


def _ad_units(world: World, site: Site) -> list[dict[str, Any]]:
    return [
        {
            "code": slot.code,
            "mediaTypes": {"banner": {"sizes": [[slot.width, slot.height]]}},
            "bids": [
                {"bidder": bidder, "params": _parameters(bidder, number, world.exchanges[bidder].seller)}
                for bidder, number in slot.placements.items()
            ],
        }
        for slot in site.slots
    ]


def _parameters(bidder: str, placement: str, seller: str) -> dict[str, str]:
    """What the bidder's own adapter wants to know."""
    if bidder == "openx":
        # With `platform` rather than `delDomain` the adapter syncs users at u.openx.net.
        return {"unit": placement, "platform": seller}
    if bidder == "appnexus":
        return {"placementId": placement}
    if bidder == "rubicon":
        return {"accountId": seller, "siteId": seller, "zoneId": placement}
    if bidder == "pubmatic":
        return {"publisherId": seller, "adSlot": placement}
    return {"siteId": placement}


def _prebid_config(world: World, site: Site, consent: str) -> dict[str, Any]:
    syncs_by = "all" if site.syncs_by_frame else "image"
    granted = {"consents": {str(purpose): True for purpose in range(1, 11)}, "legitimateInterests": {}}
    return {
        "bidderTimeout": world.auction_timeout_ms,
        "userSync": {
            "syncEnabled": True,
            "filterSettings": {syncs_by: {"bidders": "*", "filter": "include"}},
            "syncsPerBidder": 5,
            "syncDelay": 300,
        },
        "consentManagement": {
            "gdpr": {
                "cmpApi": "static",
                "defaultGdprScope": True,
                "consentData": {
                    "getTCData": {
                        "tcString": consent,
                        "gdprApplies": True,
                        "purpose": granted,
                        "vendor": {"consents": {"10": True, "69": True}, "legitimateInterests": {}},
                    }
                },
            }
        },
    }


def _in_script(value: object) -> str:
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _picture(seed: int, site: str, number: str) -> web.Response:
    raw = digest(seed, "picture", site, number)
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="120" height="80"><rect width="120" height="80" '
        f'fill="#{raw[:3].hex()}"/><circle cx="60" cy="40" r="{raw[3] % 30 + 5}" fill="#{raw[4:7].hex()}"/></svg>'
    )
    return web.Response(text=drawing, content_type="image/svg+xml", headers=_CACHED)


_STYLE = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto}img{margin:4px}"

_AUCTION = """
pbjs.que.push(function () {
  pbjs.setConfig(CONFIG);
  pbjs.addAdUnits(UNITS);
  pbjs.requestBids({ bidsBackHandler: function () {
    pbjs.adUnits.forEach(function (unit) {
      var best = pbjs.getHighestCpmBids(unit.code)[0];
      if (!best) { return; }
      var frame = document.createElement('iframe');
      frame.width = best.width; frame.height = best.height; frame.style.border = 0; frame.scrolling = 'no';
      document.getElementById(unit.code).appendChild(frame);
      pbjs.renderAd(frame.contentWindow.document, best.adId);
    });
  } });
});
"""
