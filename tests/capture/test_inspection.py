"""The answer of `inspect`: destinations, devices and gaps as JSON, and the flow table as a file."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from earwitness.capture import Capture, inspect_rows, read_capture, write_flows
from earwitness.model.errors import BadInput
from earwitness.model.tables import TABLES
from tests.capture import packets as p
from tests.capture.captures import read_frames

REAL = Path(__file__).parents[2].parent / "shared/real/captures"
HOSTS = TABLES["hosts"].arrow(
    [{"host": "known.test", "site": "known.test", "organisation": "Known Ltd", "purpose": "advertising_tracking"}]
)


@pytest.fixture
def capture(tmp_path: Path) -> Capture:
    answer = p.udp(p.RESOLVER, 53, p.SPEAKER, 3333, p.dns_answer(b"known.test", [p.SERVER]))
    packets = [
        *p.connection(p.SPEAKER, 40001, p.SERVER, 443, [(0, p.hello_stream(b"known.test"))]),
        *p.connection(p.SPEAKER, 40002, "9.9.9.9", 80, [(0, p.http_request(b"known.test"))]),
        p.udp(p.SPEAKER, 40003, p.SERVER, 443, p.quic_hello(b"other.test", b"\x08" * 8)),
        p.udp(p.SPEAKER, 123, "9.9.9.8", 123, b"x"),
        p.udp(p.SPEAKER, 124, "9.9.9.8", 124, b"x"),
    ]
    return read_frames(tmp_path, [p.ethernet(answer, p.ROUTER_MAC, p.SPEAKER_MAC), *map(p.ethernet, packets)])


def test_destinations(capture: Capture) -> None:
    answer = inspect_rows(capture, HOSTS)
    assert json.loads(json.dumps(answer)) == answer
    assert list(answer) == ["kind", "packets", "bytes", "devices", "hosts", "gaps"]
    assert (answer["kind"], answer["packets"], answer["bytes"]) == ("pcap", 12, capture.bytes)
    hosts = {row["host"]: row for row in answer["hosts"]}
    assert [row["host"] for row in answer["hosts"]] == sorted(
        hosts, key=lambda host: -hosts[host]["bytes_up"] - hosts[host]["bytes_down"]
    )
    assert set(hosts) == {"known.test", "other.test", "9.9.9.8", p.RESOLVER}
    known = hosts["known.test"]
    assert list(known) == ["host", "organisation", "purpose", "flows", "bytes_up", "bytes_down", "sources"]
    assert (known["organisation"], known["purpose"], known["flows"]) == ("Known Ltd", "advertising_tracking", 2)
    assert known["sources"] == ["sni", "http_host", "dns"]
    # The other name's flow has the asked name as a candidate too, but that did not name it.
    other = hosts["other.test"]
    assert (other["organisation"], other["purpose"], other["sources"]) == (None, "unknown", ["quic_sni"])
    assert (hosts["9.9.9.8"]["flows"], hosts["9.9.9.8"]["sources"]) == (2, ["address"])
    assert sum(row["bytes_up"] + row["bytes_down"] for row in hosts.values()) == capture.bytes
    assert [gap["reason"] for gap in answer["gaps"]] == ["no_name"]
    assert answer["gaps"][0]["subject"] == "file.bin"
    assert [device["mac"] for device in answer["devices"]] == [p.SPEAKER_MAC]


def test_gaps_are_rows_of_their_table(capture: Capture) -> None:
    (row,) = TABLES["gaps"].arrow(capture.gaps).to_pylist()
    assert (row["stage"], row["evidence"]) == ("capture", capture.sha256)


def test_flows_as_csv(capture: Capture, tmp_path: Path) -> None:
    write_flows(capture, tmp_path / "flows.csv")
    with (tmp_path / "flows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == capture.flows.schema.names
    assert [row["flow"] for row in rows] == capture.flows["flow"].to_pylist()
    assert rows[1]["candidates"] == "sni=known.test;dns=known.test"
    assert rows[0]["candidates"] == rows[0]["host"] == ""
    assert rows[0]["first_seen"].startswith("2023-11-14 22:13:20")
    assert rows[0]["first_seen"].endswith("Z")
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for row in rows for cell in row.values())


def test_flows_as_parquet(capture: Capture, tmp_path: Path) -> None:
    write_flows(capture, tmp_path / "flows.parquet")
    assert pq.read_table(tmp_path / "flows.parquet").equals(capture.flows)


def test_another_ending_is_refused(capture: Capture, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"flows\.xlsx"):
        write_flows(capture, tmp_path / "flows.xlsx")
    assert list(tmp_path.glob("flows*")) == []


@pytest.mark.skipif(not REAL.is_dir(), reason="the real captures are not beside the project")
def test_a_real_echo() -> None:
    """What an Echo Dot says while it is set up, checked by hand with tshark and the IEEE list."""
    capture = read_capture(REAL / "echo-dot-3-activation.pcap")
    answer = inspect_rows(capture, HOSTS)
    assert (answer["kind"], answer["packets"], answer["bytes"]) == ("pcapng", 2778, 396_840)
    (portal,) = [row for row in answer["hosts"] if row["host"] == "fireoscaptiveportal.com"]
    assert (portal["flows"], portal["bytes_up"], portal["bytes_down"]) == (1, 583, 382)
    assert portal["sources"] == ["http_host", "dns"]
    assert answer["devices"][0]["mac"] == "68:db:f5:90:19:64"
    assert answer["devices"][0]["vendor"] == "Amazon Technologies Inc."
