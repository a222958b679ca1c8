"""The commented study.yaml that `init` writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

_HEAD = """\
# An Earwitness study. Everything here is checked by `earwitness plan DIR`, and frozen when collection starts.
"""

_COMMENTS = {
    "title": "The question, in one line; it heads the report.",
    "seed": "Decides who gets which persona, and every order; written down, so that chance can be checked.",
    "world": "A simulated ecosystem in place of the real internet; the report says so at its top.",
    "platform": "The voice platform under audit.",
    "personas": "Treatments. Profiles (account + device + browser) are assigned to them at random.\n"
    "The profile is the unit of every test: more profiles, not more pages, make a finding surer.",
    "skills": "Voice apps, and what is said to them.",
    "sites": "Pages with header bidding that every profile visits.",
    "phases": "In this order. A crawl before the first interaction is each profile's own baseline.",
    "crawl": "Browsers at a time, and the longest that one visit may take.",
    "lists": "Who owns and who tracks, from public lists; paths inside this directory.",
    "hypotheses": "Frozen with a hash when collection starts. Anything asked later is marked post hoc, for ever.",
}


def study_yaml(study: dict[str, Any]) -> str:
    """study.yaml as text, each section under a comment that says what it is for."""
    parts = [_HEAD]
    for key, value in study.items():
        comment = "\n".join(f"# {line}" for line in _COMMENTS[key].splitlines())
        body = yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True, width=110)
        parts.append(f"{comment}\n{body}")
    return "\n".join(parts)


def new_study(
    *,
    world: str,
    seed: int,
    platform: Mapping[str, str],
    personas: Sequence[Mapping[str, Any]],
    skills: Sequence[Mapping[str, Any]],
    sites: Sequence[Mapping[str, Any]],
    sites_before: int,
    iterations: int,
) -> dict[str, Any]:
    """A study of a world's public facts: a baseline crawl of the first sites, interactions, a crawl of all.

    Each interest persona is held against the first control, one-sided ("bids are higher"), in one family; a placebo
    likewise, in a family of its own.
    """
    controls = [p["name"] for p in personas if p["role"] == "control"]
    names = [s["site"] for s in sites]
    return {
        "title": "Does talking to a speaker change who knows this person, and what is bid for their attention?",
        "seed": seed,
        "world": {"name": world, "seed": seed},
        "platform": {key: platform[key] for key in ("organisation", "sign_in", "voice_service")},
        "personas": [
            {
                "name": p["name"],
                "role": p["role"],
                **({"interest": p["interest"]} if p.get("interest") else {}),
                "profiles": p["replicates"],
                "skills": list(p["skills"]),
            }
            for p in personas
        ],
        "skills": [_plain(s) for s in skills],
        "sites": [dict(s) for s in sites],
        "phases": [
            {"phase": "before", "does": "crawl", "sites": names[:sites_before], "iterations": iterations},
            {"phase": "interact", "does": "interact", "idle_s": 8.0},
            {"phase": "after", "does": "crawl", "sites": names, "iterations": iterations},
        ],
        "crawl": {"browsers": 2, "visit_cap_s": 20.0},
        "lists": {"ownership": ["lists/ownership.json"], "filters": ["lists/filters.txt"]},
        "hypotheses": [
            {
                "name": f"bids-{p['name']}",
                "family": "interests" if p["role"] == "interest" else "placebo",
                "persona": p["name"],
                "control": controls[0],
                "outcome": "bid_cpm",
                "alternative": "greater",
            }
            for p in personas
            if p["role"] in ("interest", "placebo")
        ],
    }


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """As YAML has it: tuples are lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in entry.items()}
