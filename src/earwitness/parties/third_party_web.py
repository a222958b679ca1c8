"""Where the public third-party-web list lies on this machine, and how old it is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

_PACKAGE = Path("node_modules/third-party-web")
_DATASET = re.compile(r"^## (\d{4}-\d\d-\d\d) dataset", re.MULTILINE)


class Installed(NamedTuple):
    """The list's file, its name with version, and the date of the newest data set that it speaks of."""

    entities: Path
    source: str
    date: str | None


def installed(start: Path = Path(__file__)) -> Installed | None:
    """The list, or None where it is not installed.

    It is looked for in ``node_modules`` of every folder above `start`: the project's root in a checkout, this very
    folder in a wheel into which the build has copied it.
    """
    for folder in start.parents:
        package = folder / _PACKAGE
        entities = package / "dist/entities-nostats.json"
        if entities.is_file():
            return Installed(entities, f"third-party-web {_version(package)}", _date(package))
    return None


def _version(package: Path) -> str:
    try:
        return str(json.loads((package / "package.json").read_bytes())["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return "of unknown version"


def _date(package: Path) -> str | None:
    try:
        found = _DATASET.search((package / "README.md").read_text("utf-8", "replace"))
    except OSError:
        return None
    return found[1] if found else None
