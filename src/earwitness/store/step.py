"""A step: the unit of work and resume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from earwitness.model.tables import TABLES
from earwitness.store.evidence import file_sha256, move_in
from earwitness.store.ledger import Artefact, Ledger

Rows = Iterable[Mapping[str, object]]


class Step:
    """One running attempt: what it has collected so far. Nothing of it is visible before it is committed."""

    def __init__(self, directory: Path, ledger: Ledger, name: str, attempt: int, stage: str, partial: Path) -> None:
        self.name, self.attempt, self.stage = name, attempt, stage
        self.rows: dict[str, list[pa.Table]] = {}
        self.sealed_profile: tuple[str, Path] | None = None
        self._directory, self._ledger, self._partial = directory, ledger, partial

    def partial(self, name: str) -> Path:
        """A path to write an artefact to while it grows; after a crash it is found and kept."""
        self._partial.mkdir(parents=True, exist_ok=True)
        return self._partial / name

    def seal(self, path: Path, kind: str, sensitive: bool = False) -> str:
        """Turn a finished file under `partial` into evidence.

        Returns:
            Its SHA-256.
        """
        sha256 = file_sha256(path)
        artefact = Artefact(sha256, path.name, kind, path.stat().st_size, sensitive, self.name, self.attempt)
        self._ledger.list_evidence(artefact)
        move_in(self._directory, path, sha256, sensitive)
        return sha256

    def write(self, table: str, rows: Rows | pa.Table) -> None:
        """Add rows to a table; step and attempt are filled in."""
        arrow = rows.cast(TABLES[table].schema) if isinstance(rows, pa.Table) else TABLES[table].arrow(rows)
        if arrow.num_rows == 0:
            return
        for column, value in (("step", self.name), ("attempt", self.attempt)):
            index = arrow.schema.get_field_index(column)
            field = arrow.schema.field(index)
            arrow = arrow.set_column(index, field, pa.array([value] * arrow.num_rows, field.type))
        self.rows.setdefault(table, []).append(arrow)

    def gap(self, subject: str, reason: str, detail: str, at: datetime | None = None) -> None:
        """Write down something that was not seen."""
        self.write(
            "gaps",
            [
                {
                    "stage": self.stage,
                    "subject": subject,
                    "reason": reason,
                    "detail": detail,
                    "at": at,
                }
            ],
        )

    def seal_profile(self, profile: str, path: Path) -> None:
        """Make `path` (a file under `partial`) the profile's sealed snapshot when the step commits."""
        self.sealed_profile = (profile, path)
