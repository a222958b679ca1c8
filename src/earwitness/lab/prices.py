"""What bidders offer: lognormal prices with random effects, every draw keyed by who, where and when in the plan."""

from __future__ import annotations

import math
from dataclasses import dataclass

from earwitness.lab.draws import normal, uniform, whole
from earwitness.lab.platform_state import When
from earwitness.lab.world import World


@dataclass(frozen=True)
class Opportunity:
    """One slot offered to one bidder. `round` counts the auctions for it within the visit, from 0."""

    profile: str
    when: When
    site: str
    slot: str
    bidder: str
    round: int

    @property
    def key(self) -> tuple[str | int, ...]:
        """What the draws of this opportunity are keyed by."""
        return self.profile, self.when.phase, self.when.iteration, self.site, self.slot, self.bidder, self.round


def price_usd(world: World, opportunity: Opportunity) -> float | None:
    """The price in USD per thousand before any uplift; None where the bidder does not bid.

    The log price is the base plus effects of site, slot, bidder, hour, profile and the opportunity itself. The hour
    is that of the plan, not of the clock.
    """
    seed, spread = world.seed, world.prices.log_sd
    if uniform(seed, "no bid", *opportunity.key) < world.prices.no_bid_rate:
        return None
    hour = whole(seed, "hour", opportunity.profile, opportunity.when.phase, opportunity.when.iteration) % 24
    effects = {
        "site": (opportunity.site,),
        "slot": (opportunity.site, opportunity.slot),
        "bidder": (opportunity.bidder,),
        "hour": (hour,),
        "profile": (opportunity.profile,),
        "within": opportunity.key,
    }
    log_price = math.log(world.prices.base_usd)
    log_price += sum(spread[effect] * normal(seed, "price", effect, *key) for effect, key in effects.items())
    return math.exp(log_price)
