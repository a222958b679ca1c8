"""`doctor`: is everything here that an audit needs?"""

from __future__ import annotations

import dataclasses

import typer

from earwitness.cli.output import JsonOption, say_json, say_table
from earwitness.model.errors import MissingTool


def doctor(as_json: JsonOption = False) -> None:
    """Check that every program, list and resource for an audit is here, and say what mends what is not."""
    from earwitness import lab
    from earwitness.study import Check, readiness

    checks = readiness()
    try:
        checks.append(Check("prebid.js", True, str(lab.find_prebid())))
    except MissingTool as missing:
        checks.append(Check("prebid.js", False, "not installed", missing.install))
    if as_json:
        say_json([dataclasses.asdict(check) for check in checks])
    else:
        rows = [(c.what, "ok" if c.fine else "missing", c.found, c.mend) for c in checks]
        say_table(("what", "state", "found", "mend"), rows)
    if not all(check.fine for check in checks):
        raise typer.Exit(MissingTool.exit_code)
