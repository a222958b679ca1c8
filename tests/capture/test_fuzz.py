"""Whatever the bytes are, the reader returns or raises BadInput, and what it returns is sound."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earwitness.capture import Capture, dns, http, inspect_rows, tls
from earwitness.capture.host_names import host_name
from earwitness.capture.quic import InitialReader
from earwitness.model.errors import BadInput
from earwitness.model.tables import TABLES
from tests.capture import packets as p
from tests.capture.captures import Interface, block, pcap, pcapng, read, timed
from tests.capture.corpus import damaged

FRAMES = timed(map(p.ethernet, p.one_of_each()))
RAW = timed(p.one_of_each())
FILES = [
    pcap(FRAMES),
    pcap(FRAMES, order=">", nano=True),
    pcap(RAW, link=101),
    pcapng(FRAMES, interfaces=[Interface(), Interface(resolution=9, offset=3)], among=[block("<", 5, bytes(9))]),
    pcapng(FRAMES, order=">", kind="obsolete", interfaces=[Interface(resolution=0x94)]),
    pcapng(RAW, kind="simple", interfaces=[Interface(link=101, snap=200)]) + pcapng(FRAMES[:5]),
]  # fmt: skip


def bounded(examples: int) -> settings:
    """The same examples in every run, in bounded time."""
    quiet = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, deadline=None, suppress_health_check=quiet, derandomize=True, database=None)


def assert_sound(capture: Capture) -> None:
    flows = capture.flows.to_pylist()
    assert sum(flow["packets_up"] + flow["packets_down"] for flow in flows) == capture.packets_of_flows.num_rows
    assert capture.packets_of_flows.num_rows <= capture.packets
    assert sum(flow["bytes_up"] + flow["bytes_down"] for flow in flows) <= capture.bytes
    assert all(flow["first_seen"] <= flow["last_seen"] for flow in flows)
    assert len({flow["flow"] for flow in flows}) == len(flows)
    for name in [flow["host"] for flow in flows if flow["host"]] + capture.dns["name"].to_pylist():
        assert host_name(name.encode()) == name
    answer = inspect_rows(capture, TABLES["hosts"].arrow([]))
    json.dumps(answer)
    assert sum(host["flows"] for host in answer["hosts"]) == len(flows)


def read_or_refuse(directory: Path, data: bytes) -> None:
    try:
        capture = read(directory, data)
    except BadInput:
        return
    assert_sound(capture)


@bounded(1000)
@given(st.sampled_from(FILES), st.integers(0, 2**32))
def test_damaged_captures(tmp_path: Path, data: bytes, seed: int) -> None:
    read_or_refuse(tmp_path, damaged(random.Random(seed), data))


@bounded(500)
@given(
    st.sampled_from(p.one_of_each()),
    st.integers(0, 2**32),
    st.sampled_from([(1, p.ethernet), (113, p.sll), (101, bytes)]),
)
def test_damaged_packets(tmp_path: Path, packet: bytes, seed: int, link: tuple[int, Callable[[bytes], bytes]]) -> None:
    """Damage inside packets whose framing is whole: it goes deeper than damage to the file."""
    rng = random.Random(seed)
    frames = [damaged(rng, link[1](packet)) for _ in range(12)]
    capture = read(tmp_path, pcap(timed(frames), link=link[0]))
    assert (capture.packets, capture.truncated) == (12, False)
    assert_sound(capture)


@bounded(300)
@given(st.sampled_from([b"", FILES[0][:24], FILES[1][:24], FILES[3][:48], FILES[4][:28]]), st.binary(max_size=600))
def test_anything_after_a_header(tmp_path: Path, header: bytes, rest: bytes) -> None:
    read_or_refuse(tmp_path, header + rest)


def read_quic(data: bytes) -> None:
    reader = InitialReader()
    while not reader.finished:
        reader.add(data)


def read_hello(data: bytes) -> None:
    tls.server_name(tls.handshake(data))


@pytest.mark.parametrize(
    ("parse", "seeds"),
    [
        (read_hello, [p.hello_stream(b"a.test", padding=20), b"\x16\x03\x01\0\x05\x01"]),
        (http.host, [p.http_request(b"a.test")]),
        (dns.read_response, [p.dns_answer(b"a.b.test", ["1.2.3.4"], [b"c.test", b"d.test"]), b"\0\0\x80" + bytes(9)]),
        (read_quic, [p.quic_hello(b"a.test", b"\x08" * 8), b"\xc0\0\0\0\x01"]),
    ],
)
def test_parsers_of_messages(parse: Callable[[bytes], object], seeds: list[bytes]) -> None:
    rng = random.Random(7)
    for _ in range(400):
        for seed in seeds:
            try:
                parse(damaged(rng, seed))
            except ValueError:
                assert parse is dns.read_response


def test_decrypted_frames_that_make_no_sense() -> None:
    """Anybody can seal an Initial packet, so what is inside is as foreign as the rest."""
    rng = random.Random(7)
    for _ in range(150):
        frames = damaged(rng, p.crypto_frame(0, p.client_hello(b"a.test")) + b"\x03\x02\x05\x01\x01\0\x01\x02\0\0")
        read_quic(p.quic_initial(frames[:1100], b"\x08" * 8))


def test_messages_that_ask_for_much_work_are_read_in_little_time(tmp_path: Path) -> None:
    pointers = bytearray(b"\0\x07\x81\x80\0\0\xff\xff\0\0\0\0" + b"\x01a\0")
    while len(pointers) < 60_000:  # each name a pointer to the one before
        pointers += (0xC000 | max(len(pointers) - 12, 12) & 0x3FFF).to_bytes(2, "big") + b"\0\x01\0\x01\0\0\0\0\0\0"
    header = b"GET / HTTP/1.1\r\n" + b"host: " + b" \t" * 8000
    single = [(at, header[at : at + 1]) for at in range(0, 8000, 2)]
    frames = [p.ethernet(p.udp(p.RESOLVER, 53, p.SPEAKER, 9, bytes(pointers)))] * 16
    frames += map(p.ethernet, p.connection(p.SPEAKER, 1, p.SERVER, 80, single))
    frames += map(
        p.ethernet, p.connection(p.SPEAKER, 2, p.SERVER, 80, [(at, header[at : at + 1]) for at in range(4000)])
    )
    capture = read(tmp_path, pcap(timed(frames)))
    assert capture.packets == len(frames)


def test_kernels_never_read_beyond_their_input() -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    command = [sys.executable, "-m", "tests.capture.interpreted", "1", "3000"]
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=Path(__file__).parents[2], check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("packets 3000 flows ")
