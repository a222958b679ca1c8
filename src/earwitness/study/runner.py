"""The runner: carries out the plan, step by step, and goes on where an earlier run ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from earwitness.crawl import SignIn, VisitPlan, run_pass
from earwitness.model.errors import EarwitnessError, MissingTool
from earwitness.model.network import Enrolled, Internet
from earwitness.store import Bundle, PlannedStep, Step
from earwitness.study.config import Phase, StudyFile
from earwitness.study.conversation import converse
from earwitness.study.design import Assignment, site_order

_DEVICES_AT_A_TIME = 5
_TRIES = 2
_COLLECTED = ("visits", "requests", "cookies", "bids", "creatives", "interactions", "streams", "gaps")


@dataclass(frozen=True)
class Environment:
    """Where the study happens.

    `announce(profile, phase, iteration)` is called before a profile acts: a simulated world's clock.
    """

    internet: Internet
    announce: Callable[[str, str, int], None]


Progress = Callable[[str, int, int], None]


def run(
    bundle: Bundle,
    study: StudyFile,
    assignments: Sequence[Assignment],
    accounts: Sequence[Enrolled],
    environment: Environment,
    progress: Progress = lambda *_: None,
) -> list[str]:
    """Carry out every planned step that is not done yet.

    `progress(phase, done, total)` is called after each step.

    Returns:
        One line for each step that failed for good; what they captured is kept, and stands in `gaps`.
    """
    work = _Work(bundle, study, {a.profile: a for a in assignments}, {e.profile: e for e in accounts}, environment)
    done = bundle.ledger.done()
    plan = bundle.ledger.plan()
    failed: list[str] = []
    for phase, steps in _by_phase(plan):
        open_steps = [s for s in steps if s.step not in done]
        finished = len(steps) - len(open_steps)
        if phase is None:
            for step in open_steps:
                _enrol(bundle, step, study, assignments)
            continue
        progress(phase, finished, len(steps))
        settings = next(p for p in study.phases if p.phase == phase)
        limit = study.crawl.browsers if settings.does == "crawl" else _DEVICES_AT_A_TIME
        for line in asyncio.run(_side_by_side(work, settings, open_steps, limit, finished, len(steps), progress)):
            failed.append(line)
    bundle.compact(_COLLECTED)
    return failed


@dataclass(frozen=True)
class _Work:
    bundle: Bundle
    study: StudyFile
    assignments: dict[str, Assignment]
    accounts: dict[str, Enrolled]
    environment: Environment


async def _side_by_side(
    work: _Work, phase: Phase, steps: Sequence[PlannedStep], limit: int, finished: int, total: int, progress: Progress
) -> list[str]:
    gate = asyncio.Semaphore(limit)
    failed: list[str] = []
    count = finished

    async def one(step: PlannedStep) -> None:
        nonlocal count
        async with gate:
            line = await _attempts(work, phase, step)
            if line:
                failed.append(line)
        count += 1
        progress(phase.phase, count, total)

    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(one(step))
    except BaseExceptionGroup as several:
        if mendable := several.subgroup(EarwitnessError):
            raise mendable.exceptions[0] from None
        raise
    return failed


async def _attempts(work: _Work, phase: Phase, planned: PlannedStep) -> str | None:
    reason = ""
    for _ in range(_TRIES):
        try:
            with work.bundle.step(planned.step, planned.stage) as step:
                await (_crawl if phase.does == "crawl" else _interact)(work, phase, planned, step)
            return None
        except MissingTool:
            raise
        except (EarwitnessError, OSError) as error:
            reason = str(error)
    return f"{planned.step}: {reason}"


async def _crawl(work: _Work, phase: Phase, planned: PlannedStep, step: Step) -> None:
    profile, iteration = planned.profile or "", planned.iteration or 1
    account = work.accounts[profile]
    urls = {site.site: site.url for site in work.study.sites}
    visits = [
        VisitPlan(f"{planned.step}/{site}", site, urls[site], phase.phase, iteration, position)
        for position, site in enumerate(site_order(work.study, profile, phase.phase, iteration, phase.sites), 1)
    ]
    work.environment.announce(profile, phase.phase, iteration)
    events, sealed, pictures = (step.partial(name) for name in ("events.jsonl", "profile.tar.zst", "pictures"))
    pictures.mkdir()
    with _gaps_of_failure(step):
        result = await run_pass(
            profile=profile,
            pass_id=planned.step,
            visits=visits,
            internet=work.environment.internet,
            snapshot=work.bundle.snapshot(profile),
            sealed=sealed,
            sign_in=SignIn(work.study.platform.sign_in, account.account, account.password),
            events=events,
            token_key=work.bundle.secret_key,
            visit_cap_s=work.study.crawl.visit_cap_s,
            pictures=pictures,
        )
    evidence = step.seal(events, "browser_events")
    shown = {file.name: step.seal(file, "screenshot") for file in sorted(pictures.iterdir())}
    pictures.rmdir()
    for table, rows in result.rows.items():
        proof = [_proof(row, evidence, shown) for row in rows]
        step.write(table, [{**row, **found} for row, found in zip(rows, proof, strict=True)])
    step.write("gaps", result.gaps)
    step.seal_profile(profile, sealed)


def _proof(row: Mapping[str, object], events: str, shown: Mapping[str, str]) -> dict[str, object]:
    """What a row rests on: its picture, where it has one, else a line of the browser's events."""
    picture = row.get("screenshot")
    if not isinstance(picture, str):
        return {"evidence": events}
    return {"evidence": shown[picture], "screenshot": shown[picture], "locator": None}


async def _interact(work: _Work, phase: Phase, planned: PlannedStep, step: Step) -> None:
    profile, iteration = planned.profile or "", planned.iteration or 1
    work.environment.announce(profile, phase.phase, iteration)
    await converse(
        step,
        work.study,
        phase,
        work.assignments[profile],
        work.accounts[profile],
        work.environment.internet,
    )


def _enrol(bundle: Bundle, planned: PlannedStep, study: StudyFile, assignments: Sequence[Assignment]) -> None:
    with bundle.step(planned.step, planned.stage) as step:
        step.write("personas", [{"persona": p.name, "role": p.role, "interest": p.interest} for p in study.personas])
        step.write(
            "profiles",
            [
                {
                    "profile": a.profile,
                    "persona": a.persona.name,
                    "replicate": a.replicate,
                    "account": a.account,
                    "device_mac": a.device_mac,
                    "device_ip": a.device_ip,
                    "seed": a.seed,
                }
                for a in assignments
            ],
        )
        step.write("skills", [s.model_dump(exclude={"utterances"}) for s in study.skills])
        step.write("sites", [s.model_dump() for s in study.sites])


def _by_phase(plan: Sequence[PlannedStep]) -> Iterator[tuple[str | None, list[PlannedStep]]]:
    groups: dict[str | None, list[PlannedStep]] = {}
    for step in plan:
        groups.setdefault(step.phase, []).append(step)
    yield from groups.items()


@contextmanager
def _gaps_of_failure(step: Step) -> Iterator[None]:
    """A pass that broke off still says what it missed."""
    try:
        yield
    except EarwitnessError as error:
        step.write("gaps", getattr(error, "gaps", []))
        raise
