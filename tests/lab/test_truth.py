import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from earwitness.lab.truth import JOURNAL, TRUTH_TABLES, Truth, seal


def test_every_question_has_a_sealed_table_with_its_own_columns(tmp_path: Path) -> None:
    truth = Truth(tmp_path)
    truth.write("truth_owners", host="a.example", organisation="A")
    truth.close()
    assert seal(tmp_path)["truth_owners"] == 1
    for name, schema in TRUTH_TABLES.items():
        assert pq.read_schema(tmp_path / f"{name}.parquet").equals(schema)
    assert not list(tmp_path.glob("*.partial"))


def test_times_are_utc_microseconds_and_default_to_now(tmp_path: Path) -> None:
    truth = Truth(tmp_path)
    truth.write("truth_bids", profile="p", at=1_700_000_000_000_001)
    truth.write("truth_bids", profile="p")
    truth.close()
    seal(tmp_path)
    fixed, now = pq.read_table(tmp_path / "truth_bids.parquet")["at"].to_pylist()
    assert fixed == datetime.datetime(2023, 11, 14, 22, 13, 20, 1, tzinfo=datetime.UTC)
    assert abs((datetime.datetime.now(datetime.UTC) - now).total_seconds()) < 60


def test_sessions_append_and_a_line_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    first = Truth(tmp_path)
    first.write("truth_owners", host="a.example", organisation="A")
    with (tmp_path / JOURNAL).open("a") as journal:
        journal.write('{"table":"truth_owners","row":{"host":"b.ex')
    assert seal(tmp_path)["truth_owners"] == 1
    second = Truth(tmp_path)
    second.write("truth_owners", host="c.example", organisation="C")
    assert seal(tmp_path)["truth_owners"] == 2
    assert pq.read_table(tmp_path / "truth_owners.parquet")["host"].to_pylist() == ["a.example", "c.example"]


def test_an_unknown_column_or_table_is_refused(tmp_path: Path) -> None:
    truth = Truth(tmp_path)
    with pytest.raises(KeyError, match="colour"):
        truth.write("truth_owners", host="a.example", colour="red")
    with pytest.raises(KeyError):
        truth.write("truth_colours")
