"""Servers that fail: a small share of the requests of a visit, decided by keyed hash, so that a repeat fails alike.

Never fails: signing in, a publisher's document, the header-bidding library, speakers' services. A bidder that fails
gives no answer in the truth too: Prebid.js takes an error or an empty body as no bid, and a late answer as a time-out.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from earwitness.lab.browsing import Hit
from earwitness.lab.draws import pick, uniform
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.sign_in import DETOUR
from earwitness.lab.world import World

SLOW, RESET, UNAVAILABLE, EMPTY = "slow", "reset", "503", "empty"


class Faults:
    """Which requests of a world fail, and how."""

    def __init__(self, world: World, state: PlatformState) -> None:
        self._world, self._state = world, state
        self._auctions = {(each.host, each.path): each.bidder for each in world.exchanges.values()}
        self._spared_hosts = {site.host for site in world.sites.values()}
        self._spared = {
            (world.asset_host, "/prebid.js"),
            (world.platform.ad_host, DETOUR),
            *((urlsplit(url).hostname, urlsplit(url).path) for url in (world.platform.sign_in, world.platform.home)),
        }

    def of(self, hit: Hit) -> str | None:
        """How the request fails; None for nearly all.

        A request is drawn for by profile, place in the plan, site, address without query, and how often that was asked
        for. What failed once in a visit is answered when the very same is asked again, as browsers do after a reset.
        """
        faults, site = self._world.faults, hit.browsing.site
        if faults is None or site is None or hit.method == "OPTIONS" or hit.host in self._spared_hosts:
            return None
        if (hit.host, hit.path) in self._spared or ("failed", hit.method, hit.url) in hit.browsing.counts:
            return None
        when = self._state.when(hit.profile)
        where = (hit.method, hit.host, hit.path)
        key = (hit.profile, when.phase, when.iteration, site, *where, hit.browsing.count("fault", *where))
        if uniform(self._world.seed, "fault", *key) >= faults.share:
            return None
        hit.browsing.count("failed", hit.method, hit.url)
        return pick(self._world.seed, self._kinds(hit), "kind of fault", *key)

    def _kinds(self, hit: Hit) -> tuple[str, ...]:
        """What may happen to a request.

        Bid requests are not reset: browsers would ask again and get a bid. Where a bidder is asked once for each slot,
        Prebid.js reports one slow answer for all its slots without a bid.
        """
        bidder = self._auctions.get((hit.host, hit.path))
        if bidder is None:
            return SLOW, RESET, UNAVAILABLE, EMPTY
        return (UNAVAILABLE, EMPTY) if bidder == "rubicon" else (SLOW, UNAVAILABLE, EMPTY)


def delivers(fault: str | None) -> bool:
    """Whether the answer arrives in the end."""
    return fault in (None, SLOW)
