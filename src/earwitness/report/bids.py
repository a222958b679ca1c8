"""Bids by persona and phase, the profiles behind them, and what the tests say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from earwitness.report.layout import ROWS_SHOWN, Cell, Head, Section, Table, Words, left_out
from earwitness.report.lineage import Grouping, Number, Origin, trace
from earwitness.report.visible import count, dollars, probability, share, significant
from earwitness.store import Bundle

_BIDS = """
    select p.persona, e.role, p.profile, v.phase, v.site, v.iteration, b.slot, b.bidder, b.status, b.cpm_usd,
           b.evidence, b.locator,
           case v.phase when 'before' then 1 when 'after' then 2 else 3 end as phase_order,
           case e.role when 'interest' then 1 when 'web' then 2 when 'neutral' then 3 when 'placebo' then 4 else 5
           end as role_order
    from bids b
    join visits v on v.visit = b.visit
    join profiles p on p.profile = v.profile
    left join personas e on e.persona = p.persona
"""
_OF_A_PROFILE = {
    "opportunities": "count(*)",
    "bids": "count(*) filter (status = 'bid')",
    "answers": "count(*) filter (status <> 'timeout')",
    "median_cpm": "median(cpm_usd) filter (status = 'bid')",
}
_SHOWN = ("profile", "site", "slot", "bidder", "status", "cpm_usd", "evidence", "locator")

BY_PROFILE = Grouping(
    name="bids-of",
    source=_BIDS,
    keys=("role_order", "persona", "phase_order", "phase", "profile"),
    values=_OF_A_PROFILE
    | {"bid_rate": "count(*) filter (status = 'bid') / nullif(count(*) filter (status <> 'timeout'), 0)"},
    behind=_BIDS,
    shown=_SHOWN,
    order="role_order, persona, phase_order, phase, profile",
)
_PER_PROFILE = (
    "select role_order, persona, role, phase_order, phase, profile,\n       {values}\nfrom ({bids})\ngroup by all"
)
BY_PERSONA = Grouping(
    name="bids",
    source=_PER_PROFILE.format(
        values=",\n       ".join(f"{aggregate} as {name}" for name, aggregate in _OF_A_PROFILE.items()), bids=_BIDS
    ),
    keys=("role_order", "persona", "phase_order", "phase"),
    values={
        "role": "min(role)",
        "profiles": "count(*)",
        "opportunities": "sum(opportunities)::bigint",
        "bids": "sum(bids)::bigint",
        "bid_rate": "sum(bids) / nullif(sum(answers), 0)",
        "median_cpm": "median(median_cpm)",
    },
    behind=_BIDS,
    shown=_SHOWN,
    order="role_order, persona, phase_order, phase",
)

_COMPARED = """
    select t.hypothesis, t.persona, t.control, t.outcome, t.estimand, t.unit, t.method,
           b.profile, b.phase, b.site, b.slot, b.bidder, b.status, b.cpm_usd, b.evidence, b.locator
    from tests t
    join (BIDS) b on b.persona = t.persona or b.persona = t.control
""".replace("BIDS", _BIDS)
TESTS = Grouping(
    name="test",
    source="select *, case unit when 'profile' then 1 else 2 end as unit_order from tests",
    keys=("hypothesis", "persona", "control", "outcome", "estimand", "unit", "method"),
    values={
        column: f"max({column})"
        for column in (
            "unit_order",
            "units_treated",
            "units_control",
            "statistic",
            "effect",
            "ci_low",
            "ci_high",
            "p",
            "p_attainable",
            "p_adjusted",
            "registered",
        )
    },
    behind=_COMPARED,
    shown=("phase", *_SHOWN),
    order="unit_order, hypothesis, persona, control, max(p_adjusted) is null, outcome, estimand, method",
)

SIGNIFICANT = 0.05
"""Up to this adjusted p, a difference is called shown."""


def bids(bundle: Bundle, profiles: Sequence[Origin]) -> Section:
    """The section on bids; `profiles` are the rows of `BY_PROFILE`, which the chart shows too."""
    title = "Bids by persona"
    if not profiles:
        return Section("bids", title, nothing="No bid was asked for, so nothing can be said about prices.")
    personas = trace(bundle, BY_PERSONA)
    by_persona = Table(
        id="bids-table",
        caption="Bids by persona and phase",
        heads=(
            Head("Persona"),
            Head("Phase"),
            Head("Profiles", True),
            Head("Opportunities", True),
            Head("Bids", True),
            Head("Bid rate", True),
            Head("Median CPM", True),
        ),
        rows=tuple(
            (
                Words(o.values["persona"], (o.values["role"],) if o.values["role"] else ()),
                Words(o.values["phase"]),
                o.number("profiles", count),
                *_amounts(o),
            )
            for o in personas[:ROWS_SHOWN]
        ),
        query=BY_PERSONA.query(),
        more=left_out(len(personas), "rows"),
    )
    by_profile = Table(
        id="profiles-table",
        caption="Every dot of the chart: bids by profile and phase",
        heads=(
            Head("Profile"),
            Head("Persona"),
            Head("Phase"),
            Head("Opportunities", True),
            Head("Bids", True),
            Head("Bid rate", True),
            Head("Median CPM", True),
        ),
        rows=tuple(
            (Words(o.values["profile"]), Words(o.values["persona"]), Words(o.values["phase"]), *_amounts(o))
            for o in profiles[:ROWS_SHOWN]
        ),
        query=BY_PROFILE.query(),
        more=left_out(len(profiles), "rows"),
    )
    return Section(
        "bids",
        title,
        tables=(by_persona, by_profile),
        notes=(
            "CPM is the price in US dollars for showing an ad a thousand times. "
            "A profile's figure is the median of its bids; a persona's is the median of its profiles' figures.",
            "An opportunity is one bidder asked once for one slot. "
            "The bid rate leaves out bidders that ran out of time.",
        ),
    )


def hypothesis_tests(bundle: Bundle) -> Section:
    """The section on the tests, one row each, the wrong unit marked."""
    title = "What the tests say"
    rows = trace(bundle, TESTS)
    if not rows:
        return Section("tests", title, nothing="No hypothesis was tested.")
    table = Table(
        id="tests-table",
        caption="Tests; a result counts only where the unit is the profile",
        heads=(
            Head("Compared"),
            Head("Unit"),
            Head("Units", True),
            Head("p", True),
            Head("Smallest p possible", True),
            Head("Adjusted p", True),
            Head("Effect (95 % interval)", True),
            Head("In words"),
        ),
        rows=tuple(_test(origin) for origin in rows[:ROWS_SHOWN]),
        query=TESTS.query(),
        more=left_out(len(rows), "tests"),
    )
    return Section(
        "tests",
        title,
        tables=(table,),
        notes=(
            "p is the share of all ways to deal the same profiles to the same personas that would show a difference at "
            "least as large, were there no effect. The smallest p possible is set by the number of profiles alone.",
            "Adjusted p allows for the number of hypotheses tested together; it alone decides.",
        ),
    )


def _amounts(origin: Origin) -> tuple[Number | None, ...]:
    return (
        origin.number("opportunities", count),
        origin.number("bids", count),
        origin.number("bid_rate", share),
        origin.number("median_cpm", dollars),
    )


def _test(origin: Origin) -> tuple[Cell, ...]:
    value = origin.values
    right_unit = value["unit"] == "profile"
    notes = (
        f"{_OUTCOMES.get(value['outcome'], value['outcome'])} · {value['method']}",
        f"hypothesis {value['hypothesis']}, {_standing(value)}",
        f"effect: {value['estimand']}" if value["estimand"] else "",
    )
    return (
        Words(f"{value['persona']} against {value['control']}", notes=notes),
        Words(value["unit"] or "unknown", warning="" if right_unit else "wrong unit, as published"),
        (origin.number("units_treated", count), " against ", origin.number("units_control", count)),
        origin.number("p", probability),
        origin.number("p_attainable", probability),
        origin.number("p_adjusted", probability),
        _effect(origin),
        (_in_words(value),),
    )


_OUTCOMES = {"bid_cpm": "price of bids", "bid_rate": "bid rate"}


def _standing(value: Mapping[str, Any]) -> str:
    if value["unit"] != "profile":
        return "for comparison only"
    if not value["registered"]:
        return "not confirmatory"
    return "an estimate beside the test" if value["p_adjusted"] is None else "confirmatory: frozen before collection"


def _effect(origin: Origin) -> Cell:
    effect = origin.number("effect", significant)
    low, high = origin.number("ci_low", significant), origin.number("ci_high", significant)
    return (effect, " (", low, " to ", high, ")") if effect and low and high else effect


def _in_words(value: Mapping[str, Any]) -> str:
    if value["unit"] != "profile":
        return "Says little: bids of one profile are not independent. Shown because such tests have been published."
    p = value["p_adjusted"]
    if p is None:
        if value["effect"] is None:
            return "Could not be computed."
        return (
            "An estimate of the size." if value["registered"] else "A hint at most: its hypothesis is not confirmatory."
        )
    if p <= SIGNIFICANT:
        return "The difference is larger than chance would give."
    if value["p_attainable"] is not None and value["p_attainable"] > SIGNIFICANT:
        return "Undecided: this few profiles cannot show a difference, however large."
    return "No difference was shown. That is not proof that there is none; the interval says how large one could be."
