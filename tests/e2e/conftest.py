"""One whole audit in the lab, shared by the end-to-end tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

SEED = 20231024


@dataclass(frozen=True)
class Audit:
    """What `earwitness demo` left and said."""

    directory: Path
    answer: dict
    seed: int


def earwitness(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person would, without a terminal."""
    command = [sys.executable, "-m", "earwitness.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def query(directory: Path, sql: str) -> list[dict]:
    """Rows of a study's tables."""
    asked = earwitness("sql", directory, sql, "--format", "json")
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)


@pytest.fixture(scope="session")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    directory = tmp_path_factory.mktemp("audit") / "demo"
    done = earwitness("demo", "--out", directory, "--seed", SEED, "--json", env={**os.environ, "COLUMNS": "120"})
    assert done.returncode == 0, done.stderr[-3000:]
    return Audit(directory, json.loads(done.stdout), SEED)
