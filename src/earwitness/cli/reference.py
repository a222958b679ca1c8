"""The reference pages docs/cli.md and docs/tables.md, made from the code.

`python -m earwitness.cli.reference DOCS` writes them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from earwitness.model.tables import PROVENANCE, TABLES, Column


def cli_page() -> str:
    """docs/cli.md: every command with its arguments and options.

    Raises:
        ValueError: a command, argument or option has no help text.
    """
    from earwitness.cli.app import app

    root = typer.main.get_command(app)
    parts = ["# Commands", "Made from the code by `make docs`.", str(root.help), str(root.epilog)]
    parts += [_command(name, command) for name, command in _walk("earwitness", root)]
    return "\n\n".join(parts) + "\n"


def tables_page() -> str:
    """docs/tables.md: every table and column of the data dictionary."""
    parts = [
        "# Tables",
        "Made from `model/tables.py` by `make docs`. Every table ends with the columns of *provenance*.",
    ]
    parts.append("## provenance\n\n" + _columns(PROVENANCE))
    for table in TABLES.values():
        parts.append(
            f"## {table.name}\n\nA row is {table.row}. Filled by: {table.filled_by}.\n\n{_columns(table.columns)}"
        )
    return "\n\n".join(parts) + "\n"


def _walk(path: str, command: Any) -> list[tuple[str, Any]]:
    if hasattr(command, "commands"):
        return [found for name, sub in command.commands.items() for found in _walk(f"{path} {name}", sub)]
    return [(path, command)]


def _command(name: str, command: Any) -> str:
    if not command.help:
        raise ValueError(f"{name} has no help")
    lines = [f"## {name}", "", command.help.strip(), "", "| argument or option | meaning |", "|---|---|"]
    for parameter in command.params:
        text = getattr(parameter, "help", None)
        if not text:
            raise ValueError(f"{name}: {parameter.name} has no help")
        if parameter.param_type_name == "option":
            shown = ", ".join(parameter.opts)
            default = parameter.default
            if default not in (None, False) and not callable(default):
                text = f"{text} Default: {getattr(default, 'value', default)}."
        else:
            shown = str(parameter.metavar or parameter.name).upper()
        lines.append(f"| `{shown}` | {text} |")
    return "\n".join(lines)


def _columns(columns: tuple[Column, ...]) -> str:
    lines = ["| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| {c.name} | {c.type} | {c.unit} | {c.meaning} |" for c in columns]
    return "\n".join(lines)


if __name__ == "__main__":
    docs = Path(sys.argv[1])
    (docs / "cli.md").write_text(cli_page(), "utf-8")
    (docs / "tables.md").write_text(tables_page(), "utf-8")
