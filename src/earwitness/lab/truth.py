"""The sealed truth: what the servers did, written as they did it.

While a lab runs, every fact is one line of `journal.jsonl` in the truth directory, handed to the operating system
at once, so that a killed lab loses nothing. `seal` turns the journal into one Parquet file for each question
(`truth_<question>.parquet`, times in UTC microseconds); several lab sessions may append to one journal.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from earwitness.model.tables import FLAG, INT, REAL, TEXT, TEXTS, TIME

JOURNAL = "journal.jsonl"


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


TRUTH_TABLES: dict[str, pa.Schema] = {
    "truth_requests": _schema(
        at=TIME, profile=TEXT, visit_site=TEXT, host=TEXT, method=TEXT, url=TEXT, status=INT,
        cookie_header=TEXT, set_cookie=TEXTS, body_sha256=TEXT, kind=TEXT,
    ),
    "truth_syncs": _schema(
        at=TIME, profile=TEXT, sender_host=TEXT, receiver_host=TEXT, identifier=TEXT,
        channel=TEXT, encoding=TEXT,
    ),
    "truth_bids": _schema(
        at=TIME, profile=TEXT, site=TEXT, slot=TEXT, bidder=TEXT, status=TEXT, cpm_usd=REAL,
        cpm_without_interest=REAL, reason=TEXT,
    ),
    "truth_creatives": _schema(
        at=TIME, profile=TEXT, site=TEXT, slot=TEXT, bidder=TEXT, creative=TEXT, advertiser=TEXT,
        category=TEXT, landing_url=TEXT,
    ),
    "truth_speaker": _schema(
        at=TIME, profile=TEXT, skill=TEXT, host=TEXT, bytes_up=INT, bytes_down=INT,
    ),
    "truth_data": _schema(at=TIME, profile=TEXT, host=TEXT, data_type=TEXT, field=TEXT),
    "truth_interests": _schema(profile=TEXT, interest=TEXT, inferred_at=TIME, because=TEXT),
    "truth_admissions": _schema(
        profile=TEXT, request_number=INT, file=TEXT, state=TEXT, values=TEXTS,
    ),
    "truth_spots": _schema(
        profile=TEXT, stream=TEXT, started_s=REAL, ended_s=REAL, advertiser=TEXT, category=TEXT,
        text=TEXT,
    ),
    "truth_activations": _schema(profile=TEXT, started_at=TIME, ended_at=TIME, expected=FLAG),
    "truth_statements": _schema(
        policy=TEXT, sentence=TEXT, actor=TEXT, action=TEXT, data_type=TEXT, receiver=TEXT,
        negated=FLAG,
    ),
    "truth_verdicts": _schema(skill=TEXT, receiver=TEXT, data_type=TEXT, verdict=TEXT),
    "truth_owners": _schema(host=TEXT, organisation=TEXT),
    "truth_remedies": _schema(profile=TEXT, remedy=TEXT, asked_at=TIME, honoured=FLAG),
}  # fmt: skip


def now_us() -> int:
    """The present, in UTC microseconds."""
    return time.time_ns() // 1000


class Journal:
    """A file of JSON lines that survives `kill -9` and is shared by successive sessions."""

    def __init__(self, path: Path) -> None:
        """Open `path` for appending; a line that a killed session left unfinished is cut off."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            whole_lines = path.read_bytes()
            end = whole_lines.rfind(b"\n") + 1
            if end < len(whole_lines):
                with path.open("r+b") as torn:
                    torn.truncate(end)
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def append(self, entry: dict[str, Any]) -> None:
        """Write one entry and hand it to the operating system."""
        self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Every whole entry of a journal, oldest first; none where there is no file."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines]


class Truth:
    """The running record. One per lab process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._journal = Journal(directory / JOURNAL)

    def write(self, table: str, **row: Any) -> None:
        """Note one fact. Times are UTC microseconds (`now_us()`); `at` is set to now where it is left out.

        Raises:
            KeyError: there is no such table, or it has no such column.
        """
        schema = TRUTH_TABLES[table]
        if unknown := row.keys() - set(schema.names):
            raise KeyError(f"{table} has no column {sorted(unknown)}")
        if "at" in schema.names:
            row.setdefault("at", now_us())
        self._journal.append({"table": table, "row": row})

    def close(self) -> None:
        """Close the journal; a second call does nothing."""
        self._journal.close()


def seal(directory: Path) -> dict[str, int]:
    """Write the journal of `directory` as `truth_<question>.parquet`, one file per declared table.

    May be called at any time and again: each call replaces the files by what the journal holds now. The rows of a
    table stand in the order in which they happened.

    Returns:
        The number of rows of each table.
    """
    import pyarrow.parquet as pq

    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TRUTH_TABLES}
    for entry in read_journal(directory / JOURNAL):
        rows[entry["table"]].append(entry["row"])
    for name, schema in TRUTH_TABLES.items():
        partial = directory / f"{name}.parquet.partial"
        pq.write_table(pa.Table.from_pylist(rows[name], schema=schema), partial, compression="zstd")
        partial.replace(directory / f"{name}.parquet")
    return {name: len(found) for name, found in rows.items()}
