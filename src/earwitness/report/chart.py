"""The chart of bids: every profile a dot, the median of each persona a bar, before and after."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Any

from earwitness.report.lineage import Origin
from earwitness.report.visible import dollars, visible

_LOG_ABOVE = 8
"""Ratio of the largest to the smallest figure from which the axis is logarithmic."""
_TICKS = 8
"""Most marks on a logarithmic axis."""
_INK = {"light": "#23262b", "dark": "#e4e2dc"}
_RULE = {"light": "#d9d6cd", "dark": "#3a3f45"}
_PHASES = {"light": ("#8a9099", "#0f5c8c", "#a8501f"), "dark": ("#858c96", "#7cc0ee", "#e8a06f")}
_VEGA_LITE = "6.4"


@dataclass(frozen=True)
class Chart:
    """One picture as data URIs by (scheme, width), and what it shows in words."""

    pictures: Mapping[tuple[str, str], str]
    alt: str
    caption: str


def bid_chart(profiles: Sequence[Origin]) -> Chart | None:
    """The chart of the rows of `bids.BY_PROFILE`; None where no profile received a bid."""
    points = [
        {
            "persona": visible(origin.values["persona"] or "unknown")[:40],
            "phase": visible(origin.values["phase"] or "unknown")[:40],
            "cpm": origin.values["median_cpm"],
        }
        for origin in profiles
        if origin.values["median_cpm"] is not None and origin.values["median_cpm"] > 0
    ]
    if not points:
        return None
    caption = "Median CPM of each profile (a dot) and of each persona (a bar), before and after its speaker was used."
    if len(points) < len(profiles):
        caption += " A profile that received no bid above zero in a phase has no dot there."
    pictures = {
        (scheme, width): _data_uri(_svg(points, scheme, width))
        for scheme in ("light", "dark")
        for width in ("wide", "narrow")
    }
    return Chart(pictures, _alt(points), caption)


def _alt(points: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for (persona, phase), group in groupby(points, key=lambda p: (p["persona"], p["phase"])):
        cpms = [p["cpm"] for p in group]
        parts.append(
            f"{persona}, {phase}: {len(cpms)} profiles from {dollars(min(cpms))} to {dollars(max(cpms))}, "
            f"median {dollars(median(cpms))}"
        )
    return "Dot chart of the median CPM of each profile. " + ". ".join(parts) + "."


def _svg(points: Sequence[Mapping[str, Any]], scheme: str, width: str) -> str:
    # Imported here: together they take most of a second, and only a report with bids needs them.
    import altair as alt
    import vl_convert

    ink, rule = _INK[scheme], _RULE[scheme]
    size = {"wide": 12, "narrow": 13}[width]
    pixels = {"wide": 620, "narrow": 250}[width]
    personas = list(dict.fromkeys(p["persona"] for p in points))
    phases = list(dict.fromkeys(p["phase"] for p in points))
    cpms = [p["cpm"] for p in points]
    low, high = min(cpms), max(cpms)
    log = high / low >= _LOG_ABOVE
    if log:
        scale = alt.Scale(type="log", domain=[low / 1.15, high * 1.15], nice=False)
        ticks = alt.Axis(values=_ticks(low / 1.15, high * 1.15), format="~g")
    else:
        scale, ticks = alt.Scale(zero=True, nice=True), alt.Axis(tickCount=5, format="~g")
    colours = [_PHASES[scheme][i % 3] for i in range(len(phases))]
    base = alt.Chart(alt.InlineData(values=list(points))).encode(
        y=alt.Y("persona:N", sort=personas, title=None, axis=alt.Axis(ticks=False, domain=False, labelPadding=8)),
        yOffset=alt.YOffset("phase:N", sort=phases, scale=alt.Scale(paddingInner=0.2)),
        color=alt.Color(
            "phase:N",
            sort=phases,
            scale=alt.Scale(domain=phases, range=colours),
            legend=alt.Legend(title=None, orient="top", symbolOpacity=1, symbolSize=80),
        ),
    )
    title = "Median CPM, US dollars" + (" (logarithmic)" if log else "")
    dots = base.mark_circle(size=70, opacity=0.75).encode(
        x=alt.X("cpm:Q", scale=scale, title=title, axis=ticks),
    )
    bars = base.mark_tick(thickness=3, size=20).encode(x=alt.X("median(cpm):Q", title=title))
    chart = (
        (dots + bars)
        .properties(width=pixels, height=alt.Step(26))
        # Room at the left: the reader's sans-serif may be wider than the one that the labels were measured with.
        .configure(background="transparent", font="sans-serif", padding={"left": 30, "right": 8, "top": 4, "bottom": 4})
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=ink, titleColor=ink, gridColor=rule, domainColor=rule, tickColor=rule,
            labelFontSize=size, titleFontSize=size, titleFontWeight="normal", labelLimit=pixels // 2,
        )
        .configure_legend(labelColor=ink, labelFontSize=size)
    )  # fmt: skip
    svg: str = vl_convert.vegalite_to_svg(chart.to_dict(), vl_version=_VEGA_LITE)
    return svg


def _ticks(low: float, high: float) -> list[float]:
    """Marks for a logarithmic axis: 1, 2 and 5 of each power of ten, or the powers alone where that is too many."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    marks = [float(f"{digit}e{exponent}") for exponent in exponents for digit in (1, 2, 5)]
    within = [mark for mark in marks if low <= mark <= high]
    powers = [mark for mark in within if f"{mark:e}".startswith("1.")]
    return within if len(within) <= _TICKS or len(powers) < 2 else powers


def _data_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
