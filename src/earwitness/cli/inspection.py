"""`inspect`: one file, an answer now."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from earwitness.cli.output import JsonOption, complain, say, say_json, say_table
from earwitness.model.errors import BadInput, EarwitnessError


def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Captures: pcap or pcapng.")],
    flows: Annotated[
        Path | None,
        typer.Option("--flows", metavar="OUT", help="Write the flow table of one file to OUT.csv or OUT.parquet."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say who a capture's devices talked to: names, organisations and bytes."""
    if flows and len(files) > 1:
        raise EarwitnessError("--flows takes one FILE")
    answers: list[dict[str, Any]] = []
    code = 0
    for file in files:
        try:
            answer, cut = _answer(file, flows)
        except BadInput as error:
            complain(str(error))
            code = 2
            continue
        answers.append(answer)
        if cut:
            complain(f"{file}: {cut}; answered as far as it goes")
            code = max(code, 1)
    if as_json:
        if answers:
            say_json(answers[0] if len(files) == 1 else answers)
    else:
        for answer in answers:
            _print(answer)
    if code:
        raise typer.Exit(code)


def _answer(file: Path, flows: Path | None) -> tuple[dict[str, Any], str | None]:
    from earwitness.capture import inspect_rows, read_capture, write_flows
    from earwitness.parties import Directory

    capture = read_capture(file)
    names = {name for name in capture.flows["host"].to_pylist() if name}
    answer = {"file": str(file), **inspect_rows(capture, Directory.load().hosts(sorted(names)))}
    if flows:
        write_flows(capture, flows)
    cut = str(capture.gaps[0]["detail"]) if capture.truncated else None
    return answer, cut


def _print(answer: dict[str, Any]) -> None:
    say(f"{answer['file']}: {answer['kind']}, {answer['packets']} packets, {answer['bytes']:,} bytes")
    devices = [
        (d["mac"], d["ip"], d["vendor"], f"{d['bytes_up']:,}", f"{d['bytes_down']:,}") for d in answer["devices"]
    ]
    say_table(("device", "address", "vendor", "sent", "received"), devices, right=("sent", "received"))
    say("")
    rows = [
        (h["organisation"], h["host"], h["purpose"], h["flows"], f"{h['bytes_up']:,}", f"{h['bytes_down']:,}")
        for h in sorted(answer["hosts"], key=lambda h: (-(h["bytes_up"] + h["bytes_down"]), h["host"]))
    ]
    columns = ("organisation", "host", "purpose", "flows", "sent", "received")
    say_table(columns, rows, right=columns[3:])
    for gap in answer["gaps"]:
        say(f"not seen: {gap['reason'].replace('_', ' ')}: {gap['detail']}")
    say("")
