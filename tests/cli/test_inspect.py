"""`inspect`: one file, an answer now; several files, the worst exit code."""

import json

import pyarrow.parquet as pq
import pytest

from tests.capture.captures import pcap, timed
from tests.capture.packets import ethernet, one_of_each

from .test_commands import earwitness, one_line


@pytest.fixture
def capture(tmp_path):
    path = tmp_path / "odd name [red].txt"
    path.write_bytes(pcap(timed([ethernet(packet) for packet in one_of_each()])))
    return path


def test_the_answer_keeps_the_contract(capture):
    done = earwitness("inspect", capture, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert list(answer)[:5] == ["file", "kind", "packets", "bytes", "devices"]
    assert {"hosts", "gaps"} <= answer.keys()
    assert (answer["file"], answer["kind"]) == (str(capture), "pcap")
    keys = {"host", "organisation", "purpose", "flows", "bytes_up", "bytes_down", "sources"}
    assert answer["hosts"]
    assert all(keys <= host.keys() for host in answer["hosts"])
    assert sum(h["bytes_up"] + h["bytes_down"] for h in answer["hosts"]) <= answer["bytes"]
    told = earwitness("inspect", capture).stdout
    assert str(capture) in told
    assert all(host["host"] in told for host in answer["hosts"])


def test_the_flow_table_is_written(capture, tmp_path):
    assert earwitness("inspect", capture, "--flows", tmp_path / "f.parquet").returncode == 0
    assert earwitness("inspect", capture, "--flows", tmp_path / "f.csv").returncode == 0
    assert pq.read_table(tmp_path / "f.parquet").num_rows == len((tmp_path / "f.csv").read_text().splitlines()) - 1 > 0
    one_line(earwitness("inspect", capture, capture, "--flows", tmp_path / "g.csv"), 2, "one FILE")


def test_a_cut_capture_is_answered_as_far_as_it_goes(capture, tmp_path):
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(capture.read_bytes()[:-7])
    done = earwitness("inspect", cut, "--json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "answered as far as it goes" in done.stderr
    assert "truncated" in [gap["reason"] for gap in json.loads(done.stdout)["gaps"]]


def test_what_is_no_capture_is_one_line(tmp_path):
    for name, content in (("empty", b""), ("foreign", b"\x89PNG\r\n\x1a\n" * 9), ("header", b"\xd4\xc3\xb2\xa1\x02")):
        (tmp_path / name).write_bytes(content)
        one_line(earwitness("inspect", tmp_path / name), 2, name)
    one_line(earwitness("inspect", tmp_path / "nowhere"), 2, "nowhere")
    one_line(earwitness("inspect", tmp_path), 2, "readable file")


def test_the_worst_of_several_files_decides(capture, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    done = earwitness("inspect", capture, tmp_path / "empty", capture, "--json")
    assert done.returncode == 2
    assert [answer["file"] for answer in json.loads(done.stdout)] == [str(capture)] * 2
