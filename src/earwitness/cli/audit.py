"""Commands that make and carry out a study."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from earwitness.cli.output import JsonOption, complain, progress_bars, say, say_json, say_table
from earwitness.model.errors import EarwitnessError

StudyDir = Annotated[Path, typer.Argument(metavar="DIR", help="The study's directory.")]
_DEMO_WORLD = "tiny"


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to put the study; a new folder earwitness-demo… by default."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated world and of every random choice.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run a small audit in the lab, from start to report."""
    directory = out or _free_directory("earwitness-demo")
    _write_study(directory, _DEMO_WORLD, seed)
    _carry_out(directory, False, as_json)


def init(
    directory: StudyDir,
    world: Annotated[str, typer.Option(metavar="NAME", help="Simulated world; see: earwitness lab list.")] = "tiny",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world and of every random choice.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Write a commented study.yaml to edit."""
    _write_study(directory, world, seed)
    if as_json:
        say_json({"directory": str(directory), "study": str(directory / "study.yaml"), "world": world, "seed": seed})
    else:
        say(f"{directory / 'study.yaml'} is written; look at it, then: earwitness plan {directory}")


def plan(directory: StudyDir, as_json: JsonOption = False) -> None:
    """Say what will run, how long it takes, and what it can possibly show."""
    from earwitness.study import load_study, outlook

    view = outlook(load_study(directory))
    if as_json:
        say_json(view)
        return
    say(view["title"])
    say(f"{view['profiles']} profiles, {view['visits']} page visits, {view['utterances']} utterances, ")
    say(f"about {max(1, round(view['seconds'] / 60))} min.")
    columns = ("hypothesis", "treated", "control", "attainable p", "needed", "standing")
    rows = [
        (
            h["hypothesis"],
            h["units_treated"],
            h["units_control"],
            f"{h['p_attainable']:.4f}",
            f"≤ {h['threshold']:.4f}",
            "confirmatory"
            if h["confirmatory"]
            else f"refused: {h['would_do']['treated']} against {h['would_do']['control']} profiles would do",
        )
        for h in view["hypotheses"]
    ]
    say_table(columns, rows, right=columns[1:5])


def run(
    directory: StudyDir,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that ended early.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Collect, analyse and report; goes on at any step with --resume."""
    _carry_out(directory, resume, as_json)


def analyse(directory: StudyDir, as_json: JsonOption = False) -> None:
    """Redo the analysis from what was collected."""
    from earwitness.store import Bundle
    from earwitness.study import analyse as redo
    from earwitness.study import load_study

    study = load_study(directory)
    with Bundle.open(directory, write=True) as bundle, progress_bars() as progress:
        redo(bundle, study, progress)
        rows = {name: bundle.table(name).num_rows for name in ("flows", "hosts", "contacts", "identifiers", "syncs")}
    if as_json:
        say_json({"directory": str(directory), "rows": rows})
    else:
        say(", ".join(f"{count} {name}" for name, count in rows.items()))


def report(directory: StudyDir, as_json: JsonOption = False) -> None:
    """Write the report from the analysed tables."""
    from earwitness.report import write_report
    from earwitness.store import Bundle

    with Bundle.open(directory, write=True) as bundle:
        path = write_report(bundle)
    if as_json:
        say_json({"directory": str(directory), "report": str(path)})
    else:
        say(str(path))


def _write_study(directory: Path, world: str, seed: int) -> None:
    from earwitness import lab
    from earwitness.store import create
    from earwitness.study import new_study, study_yaml

    catalogue = lab.catalogue(world, seed)
    public = dataclasses.asdict(catalogue)
    study = new_study(
        world=world,
        seed=seed,
        platform=public["platform"],
        personas=public["personas"],
        skills=public["skills"],
        sites=public["sites"],
        sites_before=catalogue.sites_before,
        iterations=catalogue.iterations,
    )
    lists = {"lists/ownership.json": catalogue.ownership_list, "lists/filters.txt": catalogue.filter_list}
    create(directory, study_yaml(study), lists)


def _carry_out(directory: Path, resume: bool, as_json: bool) -> None:
    from earwitness.report import write_report
    from earwitness.store import Bundle
    from earwitness.study import analyse as analyse_study
    from earwitness.study import load_study

    study = load_study(directory)
    with Bundle.open(directory, write=True) as bundle:
        if bundle.ledger.plan() and not resume:
            raise EarwitnessError(f"{directory}: this study has been started; go on with: earwitness run DIR --resume")
        with progress_bars() as progress:
            failed = _collect(bundle, study, progress)
            analyse_study(bundle, study, progress)
        path = write_report(bundle)
        sentences = bundle.table("findings").select(["finding", "claim", "confidence"]).to_pylist()
    for line in failed:
        complain(f"{line} (kept as far as it went; try again with: earwitness run {directory} --resume)")
    if as_json:
        say_json({"directory": str(directory), "report": str(path), "findings": sentences, "failed": failed})
    else:
        for number, sentence in enumerate(sentences, 1):
            say(f"{number}. {sentence['claim']}")
        say(f"\nReport: {path}")
    if failed:
        raise typer.Exit(1)


def _collect(bundle: Any, study: Any, progress: Callable[[str, int, int], None]) -> list[str]:
    from earwitness import lab
    from earwitness.study import Environment, enrolled, make_assignments, make_plan, require_tools, run

    assignments = make_assignments(study)
    accounts = enrolled(assignments, bundle.secret_key)
    bundle.freeze([(h.name, h.model_dump()) for h in study.hypotheses])
    bundle.plan(make_plan(study, assignments))
    if {s.step for s in bundle.ledger.plan()} <= bundle.ledger.done():
        return []
    require_tools()
    truth = truth_directory(bundle.directory)
    with contextlib.closing(lab.start(study.world.name, study.world.seed, truth, accounts)) as world:
        environment = Environment(world.internet, world.announce)
        return run(bundle, study, assignments, accounts, environment, progress)


def truth_directory(directory: Path) -> Path:
    """Where the lab seals the truth of a study: DIR.truth beside it."""
    whole = directory.resolve()
    return whole.with_name(whole.name + ".truth")


def _free_directory(name: str) -> Path:
    number = 1
    while (path := Path(name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path
