"""Hand-made auctions: tables of visits, bids and profiles from (profile, phase, site, slot, bidder) → answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa

from earwitness.model.tables import TABLES

Answer = float | None | str
"""A CPM in USD; None for no bid; "timeout"."""


def tables(
    arms: Mapping[str, Iterable[str]], answers: Mapping[tuple, Answer], order=lambda rows: rows
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Tables bids, visits and profiles.

    `arms` maps personas to profiles; `answers` maps (profile, phase, site, slot, bidder, iteration) to the answer.
    `order` may shuffle the rows of each table.
    """
    visits: dict[tuple, dict] = {}
    bids = []
    for number, ((profile, phase, site, slot, bidder, iteration), answer) in enumerate(answers.items()):
        key = (profile, phase, site, iteration)
        visit = "-".join(map(str, key))
        visits[key] = {"visit": visit, "profile": profile, "site": site, "phase": phase, "iteration": iteration}
        status = "no_bid" if answer is None else answer if isinstance(answer, str) else "bid"
        price = answer if status == "bid" else None
        row = {"bid": f"b{number}", "visit": visit, "slot": slot, "bidder": bidder, "status": status}
        bids.append(row | {"cpm_usd": price})
    profiles = [{"profile": p, "persona": persona} for persona, found in arms.items() for p in found]
    return (
        TABLES["bids"].arrow(order(bids)),
        TABLES["visits"].arrow(order(list(visits.values()))),
        TABLES["profiles"].arrow(order(profiles)),
    )


def study(
    random: np.random.Generator,
    treated: int = 3,
    control: int = 6,
    uplift: float = 1.0,
    between: float = 0.7,
    sites: int = 4,
    before: bool = True,
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """A simulated study whose bids cluster by profile, as those of the original study's identical controls do."""
    arms = {
        "wine": [f"w{number}" for number in range(treated)],
        "control": [f"c{number}" for number in range(control)],
    }
    answers: dict[tuple, Answer] = {}
    level = {(site, slot, bidder): random.normal(0, 1) for site in range(sites) for slot in "ab" for bidder in "xy"}
    for persona, found in arms.items():
        for profile in found:
            effect = random.normal(0, between)
            for phase in ("before", "after") if before else ("after",):
                # A profile's luck is not the same in both phases; else subtracting one would remove it.
                here = effect if phase == "before" else random.normal(0, between)
                for (site, slot, bidder), base in level.items():
                    lift = np.log(uplift) if phase == "after" and persona == "wine" else 0.0
                    price = float(np.exp(base + here + lift + random.normal(0, 1.0)))
                    answers[profile, phase, f"s{site}", slot, bidder, 1] = None if random.random() < 0.3 else price
    return tables(arms, answers)
