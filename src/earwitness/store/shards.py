"""Shards: small Parquet files, one per step and table, and the DuckDB views over them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from earwitness.model.errors import TamperedEvidence
from earwitness.model.tables import TABLES
from earwitness.store.evidence import file_sha256, sync_directory
from earwitness.store.ledger import Shard

MERGED = "merged"
"""The step under which a shard stands that took the place of many."""


def slug(step: str) -> str:
    """A file name for a step's name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in step)


def write_shard(directory: Path, table: str, rows: pa.Table, step: str, attempt: int) -> Shard:
    """Write rows as a shard; its name ends in its hash, so equal content gives the same file."""
    folder = directory / "tables" / table
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{slug(step)}-{attempt}-{os.getpid()}.tmp"
    pq.write_table(rows, temporary, compression="zstd")
    with temporary.open("rb") as stream:
        os.fsync(stream.fileno())
    sha256 = file_sha256(temporary)
    path = folder / f"{slug(step)}-{attempt}-{sha256[:12]}.parquet"
    temporary.rename(path)
    sync_directory(folder)
    return Shard(str(path.relative_to(directory)), table, step, attempt, sha256, rows.num_rows)


def merge(directory: Path, table: str, shards: Sequence[Shard]) -> Shard:
    """One shard with the rows of `shards`, in their order; each row keeps its step and attempt."""
    rows = pa.concat_tables([pq.read_table(directory / s.path, schema=TABLES[table].schema) for s in shards])
    return write_shard(directory, table, rows, MERGED, 1)


def open_views(directory: Path, shards: Sequence[Shard]) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with one view per table of the data dictionary; tables without rows are there, empty.

    Raises:
        TamperedEvidence: a shard cannot be read any more.
    """
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    for name, table in TABLES.items():
        paths = [str((directory / s.path).resolve()) for s in shards if s.table == name]
        if paths:
            listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            source = f"read_parquet([{listed}], union_by_name = true)"
        else:
            connection.register(f"empty_{name}", table.schema.empty_table())
            source = f"empty_{name}"
        try:
            connection.execute(f"create view {name} as select * from {source}")  # noqa: S608 - our own names
        except duckdb.Error:
            raise TamperedEvidence(f"table {name}", "a shard is missing or is no Parquet file any more") from None
    return connection
