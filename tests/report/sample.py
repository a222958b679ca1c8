"""A small study as a bundle: nine profiles, two personas, twelve hosts, eight edges, some two hundred bids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from earwitness.store import Bundle, create

Rows = dict[str, list[dict[str, Any]]]

STUDY: dict[str, Any] = {
    "title": "Do fashion skills change the ads?",
    "question": "Does talking to a speaker about fashion change who bids, and how much, for this person's attention?",
    "world": {"name": "tiny", "seed": 20231024},
    "platform": {"organisation": "Amazon"},
}
START = datetime(2026, 5, 3, 10, 0, tzinfo=UTC)

PROFILES = [(f"fashion-{i}", "fashion", i) for i in (1, 2, 3)] + [(f"control-{i}", "control", i) for i in range(1, 7)]
HOSTS = [
    ("avs-alexa-14-na.amazon.com", "amazon.com", "Amazon", "functional", "speaker-hosts"),
    ("api.amazon.com", "amazon.com", "Amazon", "functional", "speaker-hosts"),
    ("ntp-g7g.amazon.com", "amazon.com", "Amazon", "functional", "speaker-hosts"),
    ("device-metrics-us-2.amazon.com", "amazon.com", "Amazon", "advertising_tracking", "speaker-hosts"),
    ("acsechocaptiveportal.com", "acsechocaptiveportal.com", "Amazon", "functional", "speaker-hosts"),
    ("dts.podtrac.com", "podtrac.com", "Podtrac", "advertising_tracking", "speaker-hosts"),
    ("chtbl.com", "chtbl.com", "Chartable", "advertising_tracking", "speaker-hosts"),
    ("traffic.omny.fm", "omny.fm", "Triton Digital", "advertising_tracking", "speaker-hosts"),
    ("cdn.runwaydaily.example", "runwaydaily.example", "runwaydaily.example", "content", "registrable_domain"),
    ("api.lookbook.example", "lookbook.example", "Lookbook Media", "unknown", "world-owners"),
    ("px.oxbow.example", "oxbow.example", "Oxbow Ads", "advertising_tracking", "world-owners"),
    ("u.openx.net", "openx.net", "OpenX", "advertising_tracking", "third-party-web"),
]
SKILLS = [
    ("sk-runway", "Runway Daily", "Fashion & Style", "Runway Daily Ltd"),
    ("sk-look", "My Lookbook", "Fashion & Style", "Lookbook Media"),
    ("sk-shoes", "Shoe Facts", "Fashion & Style", "Shoe Facts"),
    ("sk-style", "Style Podcast", "Fashion & Style", "Style Audio"),
]
CONTACTS = {  # host → skill, party, bytes up, bytes down
    "avs-alexa-14-na.amazon.com": (None, "platform", 812_400, 2_310_900),
    "api.amazon.com": (None, "platform", 9_120, 14_300),
    "ntp-g7g.amazon.com": (None, "platform", 1_830, 1_240),
    "device-metrics-us-2.amazon.com": (None, "platform", 48_900, 6_200),
    "acsechocaptiveportal.com": (None, "platform", 930, 810),
    "dts.podtrac.com": ("sk-style", "third", 4_310, 5_120),
    "chtbl.com": ("sk-style", "third", 4_020, 4_870),
    "traffic.omny.fm": ("sk-runway", "third", 6_210, 1_920_330),
    "cdn.runwaydaily.example": ("sk-runway", "vendor", 5_500, 2_410_000),
    "api.lookbook.example": ("sk-look", "vendor", 7_700, 12_020),
}
EDGES = [  # sender, its host, receiver, its host, encoding, channel
    ("Oxbow Ads", "px.oxbow.example", "Amazon", "api.amazon.com", "plain", "query"),
    ("OpenX", "u.openx.net", "Amazon", "api.amazon.com", "url", "query"),
    ("Tallow", "t.tallow.example", "Amazon", "api.amazon.com", "plain", "location"),
    ("Amazon", "api.amazon.com", "OpenX", "u.openx.net", "plain", "query"),
    ("Oxbow Ads", "px.oxbow.example", "Fernhill", "a.fernhill.example", "plain", "query"),
    ("Fernhill", "a.fernhill.example", "Quarry Data", "d.quarry.example", "url", "path"),
    ("OpenX", "u.openx.net", "Minnow", "m.minnow.example", "plain", "query"),
    ("Tallow", "t.tallow.example", "Sedge", "sedge.example", "url", "referer"),
]
SITES = ["news", "recipes", "sport"]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sample_rows() -> Rows:
    """Rows of every table that the report reads."""
    rows: Rows = {
        "personas": [
            {"persona": "fashion", "role": "interest", "interest": "Fashion & Style"},
            {"persona": "control", "role": "control", "interest": None},
        ],
        "profiles": [],
        "skills": [{"skill": s, "name": n, "category": c, "vendor": v, "permissions": []} for s, n, c, v in SKILLS],
        "hosts": [
            {"host": h, "site": s, "organisation": o, "purpose": p, "source": src, "source_date": "2023-10-24"}
            for h, s, o, p, src in HOSTS
        ],
        "contacts": [],
        "flows": [],
        "interactions": [],
        "visits": [],
        "bids": [],
        "requests": [],
        "identifiers": [],
        "syncs": [],
        "gaps": [],
    }
    for number, (profile, persona, replicate) in enumerate(PROFILES):
        _device(rows, profile, persona, replicate, number)
        _crawl(rows, profile, persona, number)
        _syncs(rows, profile, number)
    rows["gaps"] = [
        _gap("capture", f"flow-{i}", "no_name", f"TCP flow to 203.0.113.{i}:443 without SNI, Host or DNS answer", i)
        for i in range(1, 6)
    ] + [
        _gap("crawl", "pass control-4 after 1", "interrupted", "attempt 1: the process ended during this attempt", 30),
        _gap("crawl", "visit recipes of fashion-2", "timeout", "no auction ended within 20 s; page kept", 31),
        _gap("detect", "hashed syncs", "not_looked_for", "only plain and URL-encoded identifiers are looked for", 50),
    ]
    rows["creatives"] = [
        {
            "creative": "c-1",
            "visit": "v-0-after-news",
            "slot": "top",
            "text": "Boots for less",
            "landing_url": "https://www.boots.example/now?c=1",
            "perceptual_hash": "00ff00ff00ff00ff",
            "evidence": sha("events v-0-after-news"),
            "locator": "event 300",
        }
    ]
    rows["tests"] = _tests()
    rows["findings"] = _findings()
    return rows


def make_bundle(directory: Path, rows: Rows | None = None, study: Mapping[str, object] = STUDY) -> Bundle:
    """A bundle with these rows, open for reading."""
    create(directory, yaml.safe_dump(dict(study), allow_unicode=True, sort_keys=False), {})
    with Bundle.open(directory, write=True) as bundle, bundle.step("sample", "study") as step:
        for table, content in (sample_rows() if rows is None else rows).items():
            step.write(table, content)
    return Bundle.open(directory)


def _device(rows: Rows, profile: str, persona: str, replicate: int, number: int) -> None:
    rows["profiles"].append(
        {
            "profile": profile,
            "persona": persona,
            "replicate": replicate,
            "account": f"{profile}@mail.example",
            "device_mac": f"02:00:00:00:00:{number:02x}",
            "device_ip": f"10.0.{number}.2",
            "seed": number,
        }
    )
    capture = sha(f"capture {profile}")
    for at, (host, (skill, party, up, down)) in enumerate(CONTACTS.items()):
        if skill and persona == "control":
            continue
        amount = {"flows": 1 + at % 3, "bytes_up": up + 37 * number, "bytes_down": down + 53 * number}
        proof = {"evidence": capture, "locator": f"packet {12 + 140 * at}"}
        rows["contacts"].append(
            {"profile": profile, "skill": skill, "host": host, "party": party, "baseline_rate": 0.0, **amount, **proof}
        )
        rows["flows"].append(
            {
                "flow": f"f-{number}-{at}",
                "capture": capture,
                "profile": profile,
                "protocol": "tcp",
                "client_ip": f"10.0.{number}.2",
                "server_ip": f"198.51.100.{at}",
                "server_port": 443,
                "first_seen": START + timedelta(minutes=number, seconds=at),
                "packets_up": 20 + at,
                "packets_down": 31 + at,
                "bytes_up": amount["bytes_up"],
                "bytes_down": amount["bytes_down"],
                "host": host,
                "host_source": "sni",
                **proof,
            }
        )
    if persona == "fashion":
        for at, (skill, name, _, _) in enumerate(SKILLS):
            started = START + timedelta(minutes=20 + number, seconds=8 * at)
            rows["interactions"].append(
                {
                    "interaction": f"i-{number}-{at}",
                    "profile": profile,
                    "skill": skill,
                    "phase": "interact",
                    "utterance": f"open {name.lower()}",
                    "started_at": started,
                    "ended_at": started + timedelta(seconds=6),
                    "heard": f"Welcome to {name}.",
                    "outcome": "no_answer" if (number, at) == (1, 2) else "answered",
                    "evidence": capture,
                    "locator": f"packet {900 + at}",
                }
            )


def _crawl(rows: Rows, profile: str, persona: str, number: int) -> None:
    for phase, sites in (("before", SITES[:1]), ("after", SITES)):
        for position, site in enumerate(sites, start=1):
            visit = f"v-{number}-{phase}-{site}"
            started = START + timedelta(minutes=(5 if phase == "before" else 40) + 3 * number, seconds=20 * position)
            log = sha(f"events {visit}")
            rows["visits"].append(
                {
                    "visit": visit,
                    "profile": profile,
                    "site": site,
                    "phase": phase,
                    "iteration": 1,
                    "pass": f"{profile} {phase} 1",
                    "position": position,
                    "started_at": started,
                    "ended_at": started + timedelta(seconds=4),
                    "dwell_s": 4.0,
                    "status": "done",
                    "reason": "auction ended, syncs fired, quiet",
                    "browser": "Chromium 156.0.8078.79",
                    "evidence": log,
                    "locator": "event 1",
                }
            )
            for at, (slot, bidder) in enumerate((s, b) for s in ("top", "side") for b in ("openx", "ix", "pubmatic")):
                luck = int(sha(f"{visit} {slot} {bidder}")[:8], 16) / 2**32
                status = "no_bid" if luck < 0.3 else "timeout" if luck < 0.34 else "bid"
                uplift = 3.0 if persona == "fashion" and phase == "after" and bidder != "pubmatic" else 1.0
                cpm = round((0.06 + 0.4 * luck) * (0.7 + 0.1 * number) * uplift, 4) if status == "bid" else None
                rows["bids"].append(
                    {
                        "bid": f"b-{visit}-{at}",
                        "visit": visit,
                        "request": f"r-{visit}-{at}",
                        "slot": slot,
                        "bidder": bidder,
                        "status": status,
                        "cpm_usd": cpm,
                        "price": cpm,
                        "currency": "USD" if cpm else None,
                        "evidence": log,
                        "locator": f"event {200 + at}",
                    }
                )


def _syncs(rows: Rows, profile: str, number: int) -> None:
    for at, (sender, sender_host, receiver, receiver_host, encoding, channel) in enumerate(EDGES):
        if number == 8 and at > 4:
            continue
        owner = "Oxbow Ads" if sender == "Fernhill" else sender  # Fernhill passes on what it was given
        value = sha(f"{profile} {owner}")[:20]
        identifier = f"id-{number}-{owner}"
        log = sha(f"events v-{number}-after-news")
        if identifier not in {row["identifier"] for row in rows["identifiers"]}:
            rows["identifiers"].append(
                {
                    "identifier": identifier,
                    "profile": profile,
                    "kind": "stored",
                    "owner_host": sender_host,
                    "value": value,
                    "first_seen": START,
                }
            )
        rows["requests"].append(
            {
                "request": f"rs-{number}-{at}",
                "visit": f"v-{number}-after-news",
                "hop": 1,
                "at": START + timedelta(minutes=41),
                "method": "GET",
                "url": f"https://{receiver_host}/a/b7?k={value}&v=2&ref=https%3A%2F%2Fnews.example%2F&t=1777802{at}",
                "host": receiver_host,
                "type": "image",
                "status": 200,
                "evidence": log,
                "locator": f"event {400 + at}",
            }
        )
        rows["syncs"].append(
            {
                "sync": f"s-{number}-{at}",
                "profile": profile,
                "identifier": identifier,
                "sender": sender,
                "receiver": receiver,
                "owner": owner,
                "sender_host": sender_host,
                "receiver_host": receiver_host,
                "channel": channel,
                "encoding": encoding,
                "request": f"rs-{number}-{at}",
                "evidence": log,
                "locator": f"event {400 + at}",
            }
        )


def _gap(stage: str, subject: str, reason: str, detail: str, minute: int) -> dict[str, Any]:
    return {
        "stage": stage,
        "subject": subject,
        "reason": reason,
        "detail": detail,
        "at": START + timedelta(minutes=minute),
        "evidence": sha(f"{stage} {subject}"),
        "locator": f"packet {minute}",
    }


def _tests() -> list[dict[str, Any]]:
    shared = {
        "hypothesis": "bids-fashion",
        "family": "interests",
        "persona": "fashion",
        "control": "control",
        "outcome": "bid_cpm",
        "unit": "profile",
        "units_treated": 3,
        "units_control": 6,
        "registered": True,
    }
    return [
        {
            **shared,
            "estimand": "rank-biserial correlation of profile scores",
            "method": "permutation of profiles, ranks within strata, exact",
            "statistic": 0.31,
            "effect": 1.0,
            "p": 1 / 84,
            "p_attainable": 1 / 84,
            "p_adjusted": 1 / 84,
        },
        {
            **shared,
            "estimand": "ratio of geometric-mean CPM where both bid (selected)",
            "method": "inverted permutation of profiles, log CPM within strata",
            "statistic": 2.61,
            "effect": 2.61,
            "ci_low": 1.38,
            "ci_high": float("inf"),
            "p": 2 / 84,
            "p_attainable": 2 / 84,
        },
        {
            **shared,
            "estimand": "rank-biserial correlation of single bids",
            "method": "Mann-Whitney on single bids (wrong unit, as published)",
            "unit": "bid",
            "units_treated": 42,
            "units_control": 78,
            "statistic": 2890.0,
            "effect": 0.58,
            "p": 3.2e-8,
        },
    ]


def _findings() -> list[dict[str, Any]]:
    def finding(name: str, claim: str, sql: str, confidence: str, gaps: Iterable[str] = ()) -> dict[str, Any]:
        return {"finding": name, "claim": claim, "sql": sql, "confidence": confidence, "gaps": list(gaps)}

    return [
        finding(
            "next",
            "Repeat with more profiles before you rely on the size of the effect; "
            "ask the three partners what they send.",
            "select persona, units_treated, p_attainable\nfrom tests\nwhere unit = 'profile'\norder by all",
            "a recommendation, not a measurement",
        ),
        finding(
            "bids",
            "Bids for fashion profiles rose to 2.6 times the control's (at least 1.4 times): p = .012, the smallest "
            "that 3 against 6 profiles can give.",
            "select estimand, effect, ci_low, p, p_adjusted\nfrom tests\nwhere unit = 'profile'\norder by all",
            "fair: planned before collection, one interest, nine profiles",
            ["one visit of fashion-2 timed out"],
        ),
        finding(
            "received",
            "6 organisations received data from the speakers: Amazon from all 9 profiles, and five others, "
            "3 of them for advertising or tracking, while fashion skills were in use.",
            "select h.organisation, count(distinct c.profile) as profiles, sum(c.bytes_up)::bigint as bytes_up\n"
            "from contacts c join hosts h using (host)\ngroup by all order by bytes_up desc, organisation",
            "high: every packet of the speakers was recorded",
            ["5 flows have no name"],
        ),
        finding(
            "unseen",
            "8 things could not be seen, most of them flows that nothing names; "
            "sharing between servers is never visible.",
            "select stage, reason, count(*) as gaps from gaps group by all order by gaps desc, stage, reason",
            "certain of what is counted, blind to the rest",
        ),
        finding(
            "sharing",
            "3 organisations (OpenX, Oxbow Ads, Tallow) send a person's identifier to Amazon, "
            "and pass identifiers on to 4 more.",
            "select sender, count(distinct profile) as profiles from syncs where receiver = 'Amazon'\n"
            "group by all order by sender",
            "high: each transfer was seen in the browser, in at least 8 of 9 profiles",
            ["hashed identifiers are not looked for"],
        ),
    ]
