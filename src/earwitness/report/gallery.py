"""The ads that each persona was shown, equal pictures together."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from earwitness.report.layout import Card, Section, plural
from earwitness.report.lineage import Grouping, Origin, trace
from earwitness.report.visible import count
from earwitness.store import Bundle

_PER_PERSONA = 24
"""Most pictures of one persona."""
_PICTURE_BYTES = 150_000
"""A screenshot above this size is named, not shown: one of them would crowd out the rest."""
_BUDGET = 900_000
"""Bytes of screenshots on the page before base64."""
_PNG = b"\x89PNG\r\n\x1a\n"

_SOURCE = """
    select p.persona, coalesce(c.perceptual_hash, c.screenshot, c.creative) as picture, p.profile, v.phase, v.site,
           c.slot, c.screenshot, c.text, c.landing_url, w.domains, w.domain, c.evidence, c.locator
    from creatives c
    join visits v on v.visit = c.visit
    join profiles p on p.profile = v.profile
    left join (
      select visit, slot, list(distinct advertiser_domain order by advertiser_domain) as domains,
             min(advertiser_domain) as domain
      from bids where won and advertiser_domain is not null group by visit, slot
    ) w on w.visit = c.visit and w.slot = c.slot
"""
_SHOWN = ("profile", "phase", "site", "slot", "text", "landing_url", "domains", "screenshot", "evidence", "locator")
BY_PICTURE = Grouping(
    name="ad",
    source=_SOURCE,
    keys=("persona", "picture"),
    values={
        "profiles": "count(distinct profile)",
        "impressions": "count(*)",
        "screenshots": "list(distinct screenshot order by screenshot) filter (screenshot is not null)",
        "words": "min(text)",
        "landing": "min(landing_url)",
        "domain": "min(domain)",
        "more_domains": "count(distinct domain) - 1",
    },
    behind=_SOURCE,
    shown=_SHOWN,
    order="persona, impressions desc, picture",
)
_ALL = Grouping(
    name="ads-in-all",
    source=_SOURCE,
    values={
        "pictures": "count(distinct picture)",
        "impressions": "count(*)",
        "profiles": "count(distinct profile)",
    },
    behind=_SOURCE,
    shown=("persona", *_SHOWN),
)


def ads(bundle: Bundle) -> Section:
    """The section on rendered ads, from `creatives`, the winning `bids`, and the evidence of the screenshots."""
    title = "Ads by persona"
    origins = trace(bundle, BY_PICTURE)
    if not origins:
        return Section("ads", title, nothing="No rendered ad was recorded, so there is no picture to show.")
    whole = trace(bundle, _ALL)[0]
    pictures, impressions = whole.number("pictures", count), whole.number("impressions", count)
    profiles = whole.number("profiles", count)
    pictured = _pictured(bundle, origins)
    cards = tuple(_card(origin, pictured.get(origin.id, "")) for origin in origins if origin.id in pictured)
    hidden, absent = len(origins) - len(cards), sum(not card.picture for card in cards)
    more = f"{hidden:,} more pictures are not shown here; the query gives them all." if hidden else ""
    if absent:
        more += f"{' ' if more else ''}{absent:,} of the cards have no picture: it is missing, too large, or no PNG."
    return Section(
        "ads",
        title,
        sentences=(
            (
                pictures,
                plural(pictures, " different picture was", " different pictures were"),
                " rendered ",
                impressions,
                plural(impressions, " time for ", " times for "),
                profiles,
                plural(profiles, " profile.", " profiles."),
            ),
        ),
        cards=cards,
        cards_more=more,
        cards_query=BY_PICTURE.query(),
        notes=(
            "Ads count as the same picture where their perceptual hash is equal. The advertiser is the one that the "
            "winning bid of that slot declared; where an ad leads is read from the ad itself and was never followed.",
        ),
    )


def _pictured(bundle: Bundle, origins: Sequence[Origin]) -> dict[str, str]:
    """Data URIs of the ads to show, by origin; personas take turns, so that none uses up the room of another."""
    ranks: dict[str | None, int] = {}
    queue: list[tuple[int, int, Origin]] = []
    for number, origin in enumerate(origins):
        rank = ranks[origin.values["persona"]] = ranks.get(origin.values["persona"], -1) + 1
        if rank < _PER_PERSONA:
            queue.append((rank, number, origin))
    left = _BUDGET
    found: dict[str, str] = {}
    for _, _, origin in sorted(queue, key=lambda entry: entry[:2]):
        png = _screenshot(bundle, origin.values["screenshots"] or ())
        if len(png) > left:
            continue
        left -= len(png)
        found[origin.id] = "data:image/png;base64," + base64.b64encode(png).decode() if png else ""
    return found


def _screenshot(bundle: Bundle, hashes: Sequence[str]) -> bytes:
    """The first of the screenshots that is a PNG of a size to show; empty where none is."""
    for sha256 in hashes:
        if re.fullmatch("[0-9a-f]{64}", sha256) is None:
            continue
        path: Path = bundle.evidence_path(sha256)
        if path.is_file() and path.stat().st_size <= _PICTURE_BYTES:
            content = path.read_bytes()
            if content.startswith(_PNG):
                return content
    return b""


def _card(origin: Origin, picture: str) -> Card:
    value = origin.values
    domain = value["domain"] or "not declared"
    if value["more_domains"] and value["more_domains"] > 0:
        domain += f" and {value['more_domains']} more"
    return Card(
        group=value["persona"] or "unknown",
        picture=picture,
        text=value["words"] or "",
        facts=(("Advertiser", domain), ("Leads to", _host(value["landing"]))),
        profiles=origin.number("profiles", count),
        impressions=origin.number("impressions", count),
    )


def _host(url: str | None) -> str:
    """The host of a URL as text; what it is instead where it has none."""
    if not url:
        return "not seen"
    try:
        return urlsplit(url).hostname or "no host"
    except ValueError:
        return "no host"
