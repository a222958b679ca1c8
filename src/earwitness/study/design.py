"""Design: who gets which treatment, and what happens in which order; all from the study's seed."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Sequence
from dataclasses import dataclass

from earwitness.model.network import Enrolled
from earwitness.store import PlannedStep
from earwitness.study.config import Persona, StudyFile


@dataclass(frozen=True)
class Assignment:
    """One profile and the persona that chance gave it."""

    profile: str
    persona: Persona
    replicate: int
    account: str
    device_mac: str
    device_ip: str
    seed: int


def make_assignments(study: StudyFile) -> list[Assignment]:
    """Assign personas to profiles at random, in the order of profiles."""
    places = [(persona, i + 1) for persona in study.personas for i in range(persona.profiles)]
    _chance(study, "assignment").shuffle(places)
    return [
        Assignment(
            profile=f"p{number:02d}",
            persona=persona,
            replicate=replicate,
            account=f"listener-{_digest(study, 'account', number)[:10]}@mailbox.example",
            device_mac="02:" + ":".join(_digest(study, "mac", number)[i : i + 2] for i in range(0, 10, 2)),
            device_ip=f"192.168.77.{number + 9}",
            seed=int(_digest(study, "profile", number)[:8], 16),
        )
        for number, (persona, replicate) in enumerate(places, 1)
    ]


def enrolled(assignments: Sequence[Assignment], secret_key: bytes) -> list[Enrolled]:
    """Accounts and devices with their credentials, which exist only here: they are derived from the study's key."""

    def secret(purpose: str, assignment: Assignment) -> str:
        message = f"{purpose}\x1f{assignment.account}".encode()
        return hmac.new(secret_key, message, hashlib.sha256).hexdigest()[:32]

    return [
        Enrolled(
            profile=a.profile,
            account=a.account,
            password=secret("password", a),
            device_serial="G0" + secret("serial", a)[:14].upper(),
            refresh_token=secret("refresh", a),
            device_mac=a.device_mac,
            device_ip=a.device_ip,
        )
        for a in assignments
    ]


def make_plan(study: StudyFile, assignments: Sequence[Assignment]) -> list[PlannedStep]:
    """Every collecting step in its order: passes are shuffled, and interleaved over personas.

    Interleaving gives each pass the place (i + u) / n among its persona's n passes, u uniform: time of day cannot
    pose as an effect, and no persona comes first.
    """
    steps = [PlannedStep("enrol", "study", 0)]
    for phase in study.phases:
        for iteration in range(1, phase.iterations + 1):
            chance = _chance(study, f"order {phase.phase} {iteration}")
            placed: list[tuple[float, Assignment]] = []
            for persona in study.personas:
                members = [a for a in assignments if a.persona.name == persona.name]
                chance.shuffle(members)
                placed += [((i + chance.random()) / len(members), a) for i, a in enumerate(members)]
            for _, assignment in sorted(placed, key=lambda item: (item[0], item[1].profile)):
                name = f"{phase.phase}/{assignment.profile}/{iteration}"
                stage = "crawl" if phase.does == "crawl" else "speakers"
                steps.append(PlannedStep(name, stage, len(steps), assignment.profile, phase.phase, iteration))
    return steps


def site_order(study: StudyFile, profile: str, phase: str, iteration: int, sites: Sequence[str]) -> list[str]:
    """The order in which one pass visits its sites."""
    order = list(sites)
    _chance(study, f"sites {profile} {phase} {iteration}").shuffle(order)
    return order


def _digest(study: StudyFile, purpose: str, number: int) -> str:
    return hashlib.sha256(f"{study.seed}\x1f{purpose}\x1f{number}".encode()).hexdigest()


def _chance(study: StudyFile, purpose: str) -> random.Random:
    return random.Random(f"{study.seed}\x1f{purpose}")
