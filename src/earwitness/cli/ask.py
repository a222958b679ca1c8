"""Commands that ask a study: its tables, its score against the truth, its integrity."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from earwitness.cli.audit import StudyDir, truth_directory
from earwitness.cli.output import JsonOption, complain, say, say_json, say_table


class Format(StrEnum):
    """How `sql` prints."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def sql(
    directory: StudyDir,
    query: Annotated[str, typer.Argument(help="A query over the tables, see docs/tables.md.")],
    form: Annotated[Format, typer.Option("--format", help="How to print the rows.")] = Format.TABLE,
) -> None:
    """Query the tables of a study."""
    from earwitness.store import Bundle

    with Bundle.open(directory) as bundle:
        found = bundle.sql(query)
    rows = found.to_pylist()
    if form is Format.JSON:
        say_json(rows)
    elif form is Format.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.column_names)
        writer.writerows([[_no_formula(value) for value in row.values()] for row in rows])
    else:
        say_table(found.column_names, [list(row.values()) for row in rows])


def score(
    directory: StudyDir,
    truth: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The sealed truth; DIR.truth beside the study by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a lab study with the lab's sealed truth."""
    from earwitness import lab

    result = lab.score(directory, truth or truth_directory(directory))
    if as_json:
        say_json(result)
        return
    say(f"world {result['world']}, seed {result['seed']}")
    columns = ("question", "right", "false", "missed", "precision", "recall")
    rows = [
        (name, q["tp"], q["fp"], q["fn"], _share(q["precision"]), _share(q["recall"]))
        for name, q in result["questions"].items()
    ]
    say_table(columns, rows, right=columns[1:])
    for name, q in result["questions"].items():
        for miss in q["misses"]:
            say(f"{name}: {miss}")


def verify(directory: StudyDir, as_json: JsonOption = False) -> None:
    """Check hashes, manifest and freeze: has anything been changed?"""
    from earwitness.store import Bundle

    with Bundle.open(directory) as bundle:
        problems = bundle.verify()
        artefacts, shards = len(bundle.ledger.evidence()), len(bundle.ledger.shards())
    if as_json:
        say_json({"directory": str(directory), "evidence": artefacts, "shards": shards, "problems": problems})
    elif not problems:
        say(f"{artefacts} pieces of evidence and {shards} table shards are as the ledger recorded them")
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(1)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _no_formula(value: object) -> object:
    """A spreadsheet must not take foreign text for a formula: such cells get a leading apostrophe."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return value
