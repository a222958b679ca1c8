"""The reference pages are complete and up to date; a stale page or an undocumented option fails here."""

from pathlib import Path

import pytest

from earwitness.cli import reference
from earwitness.cli.app import app
from earwitness.model.tables import TABLES

DOCS = Path(__file__).parents[2] / "docs"


def test_the_pages_are_what_the_code_says():
    mend = "run: make docs"
    assert (DOCS / "cli.md").read_text("utf-8") == reference.cli_page(), mend
    assert (DOCS / "tables.md").read_text("utf-8") == reference.tables_page(), mend


def test_every_command_and_option_is_there():
    page = reference.cli_page()
    for name in (
        *("demo", "init", "plan", "run", "analyse", "report"),
        *("inspect", "sql", "score", "verify", "lab list", "lab show"),
    ):
        assert f"## earwitness {name}\n" in page
    for option in ("--json", "--resume", "--world", "--seed", "--flows", "--truth", "--format", "--out"):
        assert option in page


def test_an_option_without_help_is_refused(monkeypatch):
    def mute(quiet: bool = False) -> None:
        """A command with an option that nobody explains."""

    monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
    app.command()(mute)
    with pytest.raises(ValueError, match="quiet"):
        reference.cli_page()


def test_every_table_and_column_is_there():
    page = reference.tables_page()
    for table in TABLES.values():
        assert f"## {table.name}\n" in page
        assert all(f"| {column.name} |" in page and column.meaning in page for column in table.columns)
