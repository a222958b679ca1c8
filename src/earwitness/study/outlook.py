"""Outlook: what a study will do, how long it will take, and what it can possibly show; before anything is collected."""

from __future__ import annotations

from typing import Any

from earwitness.stats import attainable_p
from earwitness.study.config import StudyFile

# Seconds, measured on two cores with the small world; a busier page takes longer, a visit never longer than its cap.
_VISIT_S = 2.6
_PASS_S = 3.0
_UTTERANCE_S = 1.6
_DEVICES_AT_A_TIME = 5
_ALPHA = 0.05


def outlook(study: StudyFile) -> dict[str, Any]:
    """What `earwitness plan` prints.

    Returns:
        `profiles`, `visits`, `utterances`: counts; `seconds`: predicted duration; `hypotheses`: for each one the units
        per arm, the attainable p, the threshold of Holm's first step, whether it can be confirmatory, and if not, how
        many profiles per arm would do.
    """
    profiles = sum(p.profiles for p in study.personas)
    crawls = [p for p in study.phases if p.does == "crawl"]
    talks = [p for p in study.phases if p.does == "interact"]
    visits = profiles * sum(len(p.sites) * p.iterations for p in crawls)
    passes = profiles * sum(p.iterations for p in crawls)
    said = {s.skill: len(s.utterances) for s in study.skills}
    per_persona = {p.name: sum(said[s] for s in p.skills) for p in study.personas}
    utterances = sum(per_persona[p.name] * p.profiles for p in study.personas) * sum(p.iterations for p in talks)
    talking = sum(
        phase.iterations * (phase.idle_s + per_persona[persona.name] * _UTTERANCE_S) * persona.profiles
        for phase in talks
        for persona in study.personas
    )
    seconds = (visits * _VISIT_S + passes * _PASS_S) / study.crawl.browsers + talking / _DEVICES_AT_A_TIME
    return {
        "title": study.title,
        "profiles": profiles,
        "visits": visits,
        "utterances": utterances,
        "seconds": round(seconds),
        "hypotheses": [_prospect(study, number) for number in range(len(study.hypotheses))],
    }


def _prospect(study: StudyFile, number: int) -> dict[str, Any]:
    entry = study.hypotheses[number]
    sizes = {p.name: p.profiles for p in study.personas}
    treated, control = sizes[entry.persona], sizes[entry.control]
    threshold = _ALPHA / len([h for h in study.hypotheses if h.family == entry.family])
    least = attainable_p(treated, control, entry.alternative)
    enough = treated
    while attainable_p(enough, max(control, enough), entry.alternative) > threshold:
        enough += 1
    return {
        "hypothesis": entry.name,
        "family": entry.family,
        "units_treated": treated,
        "units_control": control,
        "p_attainable": least,
        "threshold": threshold,
        "confirmatory": least <= threshold,
        "would_do": None if least <= threshold else {"treated": enough, "control": max(control, enough)},
    }
