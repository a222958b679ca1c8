import math
import statistics

from earwitness.lab.platform_state import When
from earwitness.lab.prices import Opportunity, price_usd
from earwitness.lab.world import World


def _logs(world: World, profile: str, rounds: int) -> list[float]:
    """Log prices of one profile for one slot, over many auctions."""
    site = next(iter(world.sites.values()))
    offers = [
        price_usd(world, Opportunity(profile, When("after", 1), site.site, site.slots[0].code, "openx", number))
        for number in range(rounds)
    ]
    return [math.log(offer) for offer in offers if offer is not None]


def test_prices_spread_within_and_between_profiles_as_the_world_says(world: World) -> None:
    within = [statistics.stdev(_logs(world, f"p{number}", 400)) for number in range(20)]
    assert abs(statistics.mean(within) - 1.5) < 0.05
    means = [statistics.mean(_logs(world, f"p{number}", 900)) for number in range(60)]
    # The profile's own effect .25 and the hour's .1, beside 1.5/√810 of sampling.
    assert abs(statistics.stdev(means) - math.hypot(0.25, 0.1, 1.5 / math.sqrt(810))) < 0.06


def test_one_in_ten_opportunities_gets_no_bid(world: World) -> None:
    assert abs(len(_logs(world, "p", 4000)) / 4000 - 0.9) < 0.02


def test_a_price_depends_on_where_and_when_in_the_plan_and_on_nothing_else(world: World) -> None:
    def priced(phase: str, iteration: int, site: str) -> float | None:
        slot = world.sites[site].slots[0].code
        return price_usd(world, Opportunity("p", When(phase, iteration), site, slot, "ix", 0))

    first, second = list(world.sites)[:2]
    keys = [
        (phase, iteration, site) for phase in ("before", "after") for iteration in (1, 2) for site in (first, second)
    ]
    forward = {key: priced(*key) for key in keys}
    assert {key: priced(*key) for key in reversed(keys)} == forward
    offers = [price for price in forward.values() if price is not None]
    assert len(set(offers)) == len(offers)
