"""The ledger: one SQLite file (WAL) that says what was planned, tried, committed and frozen.

Shards and evidence exist for readers only when an attempt lists them and that attempt has ended: `done`, or
`interrupted` (then its evidence is kept, and none of its rows but gaps).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

SCHEMA_VERSION = 1

_SCHEMA = """
create table if not exists meta (key text primary key, value text not null) strict;
create table if not exists plan (
    step text primary key, stage text not null, position integer not null,
    profile text, phase text, iteration integer) strict;
create table if not exists attempts (
    step text not null, attempt integer not null, stage text not null,
    state text not null check (state in ('started', 'done', 'failed', 'interrupted')),
    started_at integer not null, ended_at integer, detail text, primary key (step, attempt)) strict;
create table if not exists shards (
    path text primary key, table_name text not null, step text not null, attempt integer not null,
    sha256 text not null, rows integer not null) strict;
create table if not exists evidence (
    sha256 text not null, name text not null, kind text not null, bytes integer not null,
    sensitive integer not null, step text not null, attempt integer not null,
    primary key (sha256, step, attempt, name)) strict;
create table if not exists snapshots (
    profile text primary key, path text not null, sha256 text not null, step text not null) strict;
create table if not exists hypotheses (
    name text primary key, body text not null, sha256 text not null, registered_at integer not null) strict;
"""


@dataclass(frozen=True)
class PlannedStep:
    """One cell of the plan: what will be done, in which order, for whom."""

    step: str
    stage: str
    position: int
    profile: str | None = None
    phase: str | None = None
    iteration: int | None = None


@dataclass(frozen=True)
class Shard:
    """One Parquet file that readers may see."""

    path: str
    table: str
    step: str
    attempt: int
    sha256: str
    rows: int


@dataclass(frozen=True)
class Artefact:
    """One piece of evidence as an attempt listed it."""

    sha256: str
    name: str
    kind: str
    size: int
    sensitive: bool
    step: str
    attempt: int


class Ledger:
    """Typed access to ledger.sqlite; every public write is one transaction."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(_SCHEMA)
        self._db.execute("insert or ignore into meta values ('schema_version', ?)", (str(SCHEMA_VERSION),))

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def meta(self, key: str) -> str | None:
        """A setting of the study, or None."""
        row = self._db.execute("select value from meta where key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Write a setting."""
        self._db.execute("insert or replace into meta values (?, ?)", (key, value))

    def add_plan(self, steps: Iterable[PlannedStep]) -> None:
        """Write the plan; steps that stand there already stay as they are."""
        with self._db:
            self._db.execute("begin")
            self._db.executemany(
                "insert or ignore into plan values (?, ?, ?, ?, ?, ?)",
                [(s.step, s.stage, s.position, s.profile, s.phase, s.iteration) for s in steps],
            )

    def plan(self) -> list[PlannedStep]:
        """The plan in order."""
        rows = self._db.execute("select step, stage, position, profile, phase, iteration from plan order by position")
        return [PlannedStep(*row) for row in rows]

    def done(self) -> set[str]:
        """Steps that have been completed."""
        return {row[0] for row in self._db.execute("select step from attempts where state = 'done'")}

    def failures(self, step: str) -> int:
        """How many attempts of `step` failed or were interrupted."""
        query = "select count(*) from attempts where step = ? and state in ('failed', 'interrupted')"
        return int(self._db.execute(query, (step,)).fetchone()[0])

    def begin(self, step: str, attempt: int, stage: str, at: int) -> None:
        """Note that an attempt has started (µs UTC)."""
        self._db.execute(
            "insert or replace into attempts values (?, ?, ?, 'started', ?, null, null)",
            (step, attempt, stage, at),
        )

    def started(self) -> list[tuple[str, int, str]]:
        """Attempts (step, attempt, stage) that never ended: the process died."""
        rows = self._db.execute("select step, attempt, stage from attempts where state = 'started' order by step")
        return [(str(step), int(attempt), str(stage)) for step, attempt, stage in rows]

    def attempts(self) -> list[tuple[str, int, str, str]]:
        """All attempts: (step, attempt, stage, state)."""
        return list(self._db.execute("select step, attempt, stage, state from attempts order by started_at, step"))

    def list_evidence(self, artefact: Artefact) -> None:
        """List evidence under a running attempt; readers see it when the attempt has ended."""
        a = artefact
        self._db.execute(
            "insert or replace into evidence values (?, ?, ?, ?, ?, ?, ?)",
            (a.sha256, a.name, a.kind, a.size, int(a.sensitive), a.step, a.attempt),
        )

    def evidence(self) -> list[Artefact]:
        """Everything that ended attempts listed."""
        rows = self._db.execute(
            "select e.sha256, e.name, e.kind, e.bytes, e.sensitive, e.step, e.attempt from evidence e"
            " join attempts a using (step, attempt) where a.state != 'started' order by 1, 2, 6, 7"
        )
        return [Artefact(sha, name, kind, size, bool(hidden), *by) for sha, name, kind, size, hidden, *by in rows]

    def end(
        self,
        step: str,
        attempt: int,
        state: str,
        at: int,
        detail: str | None,
        shards: Sequence[Shard] = (),
        snapshot: tuple[str, str, str] | None = None,
        replace: bool = False,
    ) -> list[str]:
        """End an attempt: its shards and snapshot become visible, in one transaction.

        `snapshot` is (profile, path, sha256). With `replace`, shards of earlier runs of the step are dropped.

        Returns:
            Paths that no longer exist for readers and may be deleted.
        """
        dropped: list[str] = []
        with self._db:
            self._db.execute("begin immediate")
            if replace:
                dropped += [r[0] for r in self._db.execute("select path from shards where step = ?", (step,))]
                self._db.execute("delete from shards where step = ?", (step,))
            self._db.executemany(
                "insert or replace into shards values (?, ?, ?, ?, ?, ?)",
                [(s.path, s.table, s.step, s.attempt, s.sha256, s.rows) for s in shards],
            )
            if snapshot:
                profile, path, sha256 = snapshot
                dropped += [r[0] for r in self._db.execute("select path from snapshots where profile = ?", (profile,))]
                self._db.execute(
                    "insert or replace into snapshots values (?, ?, ?, ?)",
                    (profile, path, sha256, step),
                )
            self._db.execute(
                "update attempts set state = ?, ended_at = ?, detail = ? where step = ? and attempt = ?",
                (state, at, detail, step, attempt),
            )
        kept = {s.path for s in shards} | ({snapshot[1]} if snapshot else set())
        return [path for path in dropped if path not in kept]

    def shards(self, table: str | None = None) -> list[Shard]:
        """Shards that exist for readers, in a stable order."""
        rows = self._db.execute(
            "select path, table_name, step, attempt, sha256, rows from shards"
            " where ?1 is null or table_name = ?1 order by table_name, step, attempt, path",
            (table,),
        )
        return [Shard(*row) for row in rows]

    def merge_shards(self, old: Sequence[Shard], new: Shard) -> None:
        """Put one shard in the place of many."""
        with self._db:
            self._db.execute("begin immediate")
            self._db.executemany("delete from shards where path = ?", [(s.path,) for s in old])
            self._db.execute(
                "insert or replace into shards values (?, ?, ?, ?, ?, ?)",
                (new.path, new.table, new.step, new.attempt, new.sha256, new.rows),
            )

    def snapshot(self, profile: str) -> tuple[str, str] | None:
        """The last sealed browser profile: (path, sha256)."""
        row = self._db.execute("select path, sha256 from snapshots where profile = ?", (profile,)).fetchone()
        return None if row is None else (str(row[0]), str(row[1]))

    def snapshots(self) -> list[tuple[str, str]]:
        """All sealed browser profiles: (path, sha256)."""
        return [(str(p), str(s)) for p, s in self._db.execute("select path, sha256 from snapshots order by path")]

    def freeze(self, hypotheses: Iterable[tuple[str, dict[str, object], str]], at: int) -> None:
        """Freeze hypotheses (name, body, sha256 of the canonical body); later ones never replace them."""
        with self._db:
            self._db.execute("begin")
            self._db.executemany(
                "insert or ignore into hypotheses values (?, ?, ?, ?)",
                [(name, json.dumps(body, sort_keys=True), sha, at) for name, body, sha in hypotheses],
            )

    def hypotheses(self) -> list[tuple[str, dict[str, object], str]]:
        """Frozen hypotheses: (name, body, sha256)."""
        rows = self._db.execute("select name, body, sha256 from hypotheses order by name")
        return [(str(name), json.loads(body), str(sha)) for name, body, sha in rows]
