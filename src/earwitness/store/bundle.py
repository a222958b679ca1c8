"""The bundle: a study's directory."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import duckdb
import pyarrow as pa
import yaml

from earwitness.model.errors import (
    BadInput,
    BadStudy,
    EarwitnessError,
    StudyLocked,
    TamperedEvidence,
)
from earwitness.model.tables import TABLES
from earwitness.store.evidence import evidence_path, file_sha256, sync_directory
from earwitness.store.ledger import Artefact, Ledger, PlannedStep, Shard
from earwitness.store.shards import MERGED, merge, open_views, slug, write_shard
from earwitness.store.step import Step

_COMPACT_ABOVE = 16


class Bundle:
    """A study's directory: study.yaml, ledger, evidence, tables, profiles, findings.

    Opened for reading by default; `open(..., write=True)` takes the study's lock.
    """

    def __init__(self, directory: Path, ledger: Ledger, lock: IO[bytes] | None) -> None:
        self.directory = directory
        self.ledger = ledger
        self._lock = lock
        self._views: duckdb.DuckDBPyConnection | None = None

    @classmethod
    def open(cls, directory: str | Path, write: bool = False) -> Bundle:
        """Open a study.

        Raises:
            BadStudy: there is no study.yaml in `directory`.
            StudyLocked: `write` is asked for and another process is writing.
        """
        directory = Path(directory)
        if not (directory / "study.yaml").is_file():
            raise BadStudy(str(directory), "there is no study here; make one with: earwitness init DIR")
        lock = None
        if write:
            lock = (directory / ".lock").open("ab")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                raise StudyLocked(str(directory)) from None
        bundle = cls(directory, Ledger(directory / "ledger.sqlite"), lock)
        if write:
            bundle._recover()
        return bundle

    def close(self) -> None:
        """Let go of the ledger and the lock."""
        if self._views:
            self._views.close()
            self._views = None
        self.ledger.close()
        if self._lock:
            self._lock.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def study(self) -> dict[str, Any]:
        """study.yaml as plain data."""
        data = yaml.safe_load((self.directory / "study.yaml").read_text("utf-8"))
        return data if isinstance(data, dict) else {}

    @property
    def secret_key(self) -> bytes:
        """The study's own key (32 bytes): turns secrets into tokens; made on first use."""
        path = self.directory / "secret.key"
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(secrets.token_bytes(32))
        return path.read_bytes()

    # Reading

    def sql(self, query: str, parameters: Iterable[object] = ()) -> pa.Table:
        """Ask the tables by their names.

        Raises:
            BadInput: the query is wrong; says why.
        """
        if self._views is None:
            self._views = open_views(self.directory, self.ledger.shards())
        try:
            return self._views.sql(query, params=list(parameters) or None).to_arrow_table()
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            raise BadInput("query", "sql", f"a query over the study's tables ({reason})") from None

    def table(self, name: str) -> pa.Table:
        """A whole table, in a stable order of steps."""
        if name not in TABLES:
            raise BadInput("query", name, f"one of the tables {', '.join(sorted(TABLES))}")
        import pyarrow.parquet as pq

        schema = TABLES[name].schema
        shards = [pq.read_table(self.directory / s.path, schema=schema) for s in self.ledger.shards(name)]
        return pa.concat_tables(shards) if shards else schema.empty_table()

    def evidence_path(self, sha256: str) -> Path:
        """The file with this artefact.

        Raises:
            BadInput: `sha256` is not 64 hexadecimal digits.
        """
        if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
            raise BadInput("evidence", sha256[:80], "a SHA-256 in hexadecimal")
        return evidence_path(self.directory, sha256)

    def snapshot(self, profile: str) -> Path | None:
        """The profile's sealed browser snapshot, checked against its hash; None before the first pass."""
        found = self.ledger.snapshot(profile)
        if found is None:
            return None
        path = self.directory / found[0]
        if not path.is_file() or file_sha256(path) != found[1]:
            raise TamperedEvidence(found[0], "the sealed browser profile is missing or has changed")
        return path

    def verify(self) -> list[str]:
        """Everything that does not match the ledger, one line each; empty when all is as it was."""
        problems = []
        listed = {a.sha256 for a in self.ledger.evidence()}
        for sha256 in sorted(listed):
            path = self.evidence_path(sha256)
            if not path.is_file():
                problems.append(f"evidence {sha256}: missing")
            elif file_sha256(path) != sha256:
                problems.append(f"evidence {sha256}: changed")
        for path in sorted((self.directory / "evidence").glob("[0-9a-f][0-9a-f]/*")):
            if path.name not in listed:
                problems.append(f"evidence {path.name}: not listed in the ledger")
        for relative, sha256 in [(s.path, s.sha256) for s in self.ledger.shards()] + self.ledger.snapshots():
            path = self.directory / relative
            if not path.is_file():
                problems.append(f"{relative}: missing")
            elif file_sha256(path) != sha256:
                problems.append(f"{relative}: changed")
        frozen = self.ledger.meta("study_sha256")
        if frozen and file_sha256(self.directory / "study.yaml") != frozen:
            problems.append("study.yaml: changed after collection started")
        for name, body, sha256 in self.ledger.hypotheses():
            if canonical_sha256(body) != sha256:
                problems.append(f"hypothesis {name}: changed after it was frozen")
        return problems

    # Writing

    def freeze(self, hypotheses: Iterable[tuple[str, dict[str, object]]]) -> None:
        """Freeze study.yaml and the hypotheses; nothing later can pass for planned.

        Raises:
            TamperedEvidence: study.yaml has changed since it was frozen.
        """
        sha256 = file_sha256(self.directory / "study.yaml")
        frozen = self.ledger.meta("study_sha256")
        if frozen and frozen != sha256:
            raise TamperedEvidence("study.yaml", "it has changed since collection started")
        if not frozen:
            self.ledger.freeze([(n, b, canonical_sha256(b)) for n, b in hypotheses], _now())
            self.ledger.set_meta("study_sha256", sha256)

    def plan(self, steps: Iterable[PlannedStep]) -> None:
        """Write the plan into the ledger, once."""
        self.ledger.add_plan(steps)

    @contextlib.contextmanager
    def step(self, name: str, stage: str, replace: bool = False) -> Iterator[Step]:
        """Run one attempt of a step; commits at the end of the block.

        An error inside keeps the evidence, writes a gap, and goes on to the caller. `replace` is for analysis: the
        step's earlier shards are dropped, and its attempt is always 1, so that the same input gives the same bytes.
        """
        attempt = 1 if replace else self.ledger.failures(name) + 1
        self.ledger.begin(name, attempt, stage, _now())
        step = Step(self.directory, self.ledger, name, attempt, stage, self._partial_folder(name, attempt))
        try:
            yield step
        except BaseException as error:
            self._keep(name, attempt, stage, "failed", _one_line(error), step.rows.get("gaps", []), replace)
            raise
        snapshot = self._place_snapshot(step)
        shards = [
            write_shard(self.directory, table, pa.concat_tables(parts), name, attempt)
            for table, parts in sorted(step.rows.items())
        ]
        self._drop(self.ledger.end(name, attempt, "done", _now(), None, shards, snapshot, replace))
        shutil.rmtree(self._partial_folder(name, attempt), ignore_errors=True)

    def compact(self, tables: Iterable[str]) -> None:
        """Merge the small shards of collected tables into one each; those of analysis steps stay replaceable."""
        collected = {planned.step for planned in self.ledger.plan()} | {MERGED}
        for table in tables:
            shards = [s for s in self.ledger.shards(table) if s.step in collected]
            if len(shards) > _COMPACT_ABOVE:
                merged = merge(self.directory, table, shards)
                self.ledger.merge_shards(shards, merged)
                self._drop([s.path for s in shards if s.path != merged.path])

    def _partial_folder(self, step: str, attempt: int) -> Path:
        return self.directory / "evidence" / "partial" / f"{slug(step)}-{attempt}"

    def _place_snapshot(self, step: Step) -> tuple[str, str, str] | None:
        if step.sealed_profile is None:
            return None
        profile, source = step.sealed_profile
        folder = self.directory / "profiles" / slug(profile)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{slug(step.name)}-{step.attempt}.tar.zst"
        source.chmod(0o600)
        source.rename(target)
        sync_directory(folder)
        return profile, str(target.relative_to(self.directory)), file_sha256(target)

    def _recover(self) -> None:
        """Attempts that never ended: keep what they captured, mark them, write the gaps."""
        for step, attempt, stage in self.ledger.started():
            detail = "the process ended during this attempt; what it had captured is kept"
            self._keep(step, attempt, stage, "interrupted", detail, [], False)
        shutil.rmtree(self.directory / "evidence" / "partial", ignore_errors=True)
        listed = {shard.path for shard in self.ledger.shards()} | {path for path, _ in self.ledger.snapshots()}
        for path in [*self.directory.glob("tables/*/*"), *self.directory.glob("profiles/*/*")]:
            if str(path.relative_to(self.directory)) not in listed:
                path.unlink()

    def _keep(
        self,
        step: str,
        attempt: int,
        stage: str,
        state: str,
        detail: str,
        gaps: list[pa.Table],
        replace: bool,
    ) -> None:
        kept = Step(self.directory, self.ledger, step, attempt, stage, self._partial_folder(step, attempt))
        folder = self._partial_folder(step, attempt)
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.is_file() and path.stat().st_size and not path.name.endswith(".tar.zst"):
                kept.seal(path, "partial", sensitive=True)
        kept.gap(step, state, f"attempt {attempt}: {detail}")
        rows = pa.concat_tables([*gaps, *kept.rows["gaps"]])
        # A failed analysis leaves no shard behind: its next run must give the same bytes as if it had never failed.
        shards = [] if replace else [write_shard(self.directory, "gaps", rows, step, attempt)]
        self._drop(self.ledger.end(step, attempt, state, _now(), detail, shards))

    def _drop(self, paths: Iterable[str]) -> None:
        for path in paths:
            (self.directory / path).unlink(missing_ok=True)
        if self._views:
            self._views.close()
            self._views = None


def create(directory: Path, study: str, files: Mapping[str, str]) -> None:
    """Make a study's directory with its study.yaml and accompanying files (relative name → text).

    Raises:
        EarwitnessError: there is one already.
    """
    if (directory / "study.yaml").exists():
        raise EarwitnessError(f"{directory}: there is a study already; choose another directory")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in {**files, "study.yaml": study}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def canonical_sha256(body: object) -> str:
    """SHA-256 of plain data, independent of key order."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _now() -> int:
    return time.time_ns() // 1000


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


__all__ = ["Artefact", "Bundle", "Shard", "canonical_sha256", "create"]
