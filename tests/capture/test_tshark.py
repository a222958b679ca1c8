"""The reader says what tshark says, on generated and on real captures; every difference is named here."""

from pathlib import Path

import pytest

from earwitness.capture import Capture, read_capture
from tests.capture import packets as p
from tests.capture import tshark
from tests.capture.captures import Interface, pcap, pcapng, timed

pytestmark = pytest.mark.skipif(not tshark.AVAILABLE, reason="tshark is not installed")

REAL = Path(__file__).parents[2].parent / "shared/real/captures"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the real captures are not beside the project")


def flows_of(capture: Capture) -> dict[tshark.Ends, tuple[int, int]]:
    return {
        ends_of(row): (row["packets_up"] + row["packets_down"], row["bytes_up"] + row["bytes_down"])
        for row in capture.flows.to_pylist()
    }


def ends_of(row: dict) -> tshark.Ends:
    ends = (row["client_ip"], row["client_port"]), (row["server_ip"], row["server_port"])
    return row["protocol"], frozenset(ends)


def names_of(capture: Capture, source: str) -> dict[tshark.Ends, set[str]]:
    found: dict[tshark.Ends, set[str]] = {}
    for row in capture.flows.to_pylist():
        names = {item.partition("=")[2] for item in row["candidates"] if item.startswith(f"{source}=")}
        if names:
            found[ends_of(row)] = names
    return found


def answers_of(capture: Capture) -> set[tuple[str, str]]:
    return {(row["name"], row["address"]) for row in capture.dns.to_pylist()}


def told(said: tshark.Said, source: str) -> dict[tshark.Ends, set[str]]:
    # Difference: tshark leaves case and the white space after a header's value as they were sent.
    return {ends: {name.lower().rstrip() for name in names} for ends, names in said.names[source].items()}


def assert_same(capture: Capture, said: tshark.Said) -> None:
    assert (capture.packets, capture.bytes) == (said.packets, said.bytes)
    assert flows_of(capture) == said.flows
    assert answers_of(capture) == said.answers
    for source in ("sni", "quic_sni", "http_host"):
        assert names_of(capture, source) == told(said, source)


@needs_real
@pytest.mark.parametrize(
    "name", ["alexa-app.pcapng", "echo-dot-3-activation.pcap", "homepod.pcap", "iot-inspector-lan.pcap"]
)
def test_real_captures(name: str) -> None:
    capture = read_capture(REAL / name)
    assert_same(capture, tshark.ask(REAL / name))
    assert not capture.truncated


@needs_real
def test_real_sonos() -> None:
    """Difference: the controller's server name is an address (against RFC 6066), which is no name to us."""
    capture, said = read_capture(REAL / "sonos.pcapng"), tshark.ask(REAL / "sonos.pcapng")
    assert list(told(said, "sni").values()) == [{"192.168.1.70"}]
    said.names["sni"] = {}
    assert_same(capture, said)


MIXED = [
    p.udp(p.RESOLVER, 53, p.SPEAKER, 3333, p.dns_answer(b"Asked.Test", [p.SERVER, "9.9.9.9"], [b"alias.cdn.test"])),
    p.udp(p.RESOLVER, 53, p.SPEAKER, 3334, p.dns_answer(b"six.test", [p.SERVER6])),
    *p.connection(p.SPEAKER, 40001, p.SERVER, 443, [(0, p.hello_stream(b"whole.test"))]),
    *p.connection(
        p.SPEAKER,
        40002,
        p.SERVER,
        443,
        [(0, p.hello_stream(b"split.test")[:50]), (50, p.hello_stream(b"split.test")[50:])],
    ),
    *p.connection(
        p.SPEAKER6,
        40003,
        p.SERVER6,
        443,
        [(40, p.hello_stream(b"order.test")[40:]), (0, p.hello_stream(b"order.test")[:40])],
    ),
    *p.connection(p.SPEAKER, 40004, p.SERVER, 80, [(0, p.http_request(b"http.test"))]),
    p.udp(p.SPEAKER, 50000, p.SERVER, 443, p.quic_hello(b"quic1.test", b"\x08" * 8)),
    p.udp(p.SPEAKER6, 50001, p.SERVER6, 443, p.quic_hello(b"quic29.test", b"\x09" * 8, version=0xFF00001D)),
    p.udp(p.SPEAKER, 5353, "224.0.0.251", 5353, p.dns_answer(b"local.test", [p.PHONE])),
    p.udp(p.SPEAKER6, 5000, p.SERVER6, 99, b"x", extensions=[(0, bytes(6)), (60, bytes(6))]),
    p.ip(p.SERVER, p.SPEAKER, 1, b"\x03\x03\0\0\0\0\0\0" + p.udp(p.SPEAKER, 5000, "9.9.9.9", 99, b"x")),
    p.ip(p.SPEAKER, p.SERVER, 2, bytes(8)),
    p.udp(p.SPEAKER, 6000, p.SERVER, 99, bytes(900)),
]  # fmt: skip


def variants() -> dict[str, bytes]:
    ethernet = timed(map(p.ethernet, MIXED))
    double = timed(p.ethernet(packet, tags=[(0x88A8, 5), (0x8100, 6)]) for packet in MIXED)
    cooked = [Interface(link=113), Interface(link=113, resolution=9)]
    return {
        "pcap": pcap(ethernet),
        "pcap-big-nano": pcap(ethernet, order=">", nano=True),
        "pcap-qinq": pcap(double),
        "pcap-sll2": pcap(timed(map(p.sll2, MIXED)), link=276),
        "pcap-raw": pcap(timed(MIXED), link=101),
        "pcap-null": pcap(timed(map(p.null, MIXED)), link=0),
        "pcap-snap-80": pcap(timed(map(p.ethernet, MIXED), snap=80), snap=80),
        "pcapng": pcapng(ethernet),
        "pcapng-obsolete-big": pcapng(ethernet, kind="obsolete", order=">"),
        "pcapng-simple": pcapng(ethernet, kind="simple"),
        "pcapng-sll": pcapng(timed(map(p.sll, MIXED)), interfaces=cooked),
        "pcapng-sections": pcapng(ethernet[:20]) + pcapng(timed(map(p.ethernet, MIXED[20:])), order=">"),
    }


@pytest.mark.parametrize("variant", variants())
def test_generated_captures(tmp_path: Path, variant: str) -> None:
    path = tmp_path / "x.cap"
    path.write_bytes(variants()[variant])
    capture, said = read_capture(path), tshark.ask(path)
    assert_same(capture, said)
    assert len(said.flows) == 11


def test_quic_version_2(tmp_path: Path) -> None:
    """Difference: tshark before 4.2 does not decrypt QUIC version 2 (RFC 9369); we do."""
    datagram = p.quic_hello(b"v2.test", b"\x08" * 8, version=0x6B3343CF)
    path = tmp_path / "x.cap"
    path.write_bytes(pcap(timed([p.ethernet(p.udp(p.SPEAKER, 50000, p.SERVER, 443, datagram))])))
    capture, said = read_capture(path), tshark.ask(path)
    assert flows_of(capture) == said.flows
    assert list(names_of(capture, "quic_sni").values()) == [{"v2.test"}]
    assert list(told(said, "quic_sni").values()) in ([{"v2.test"}], [])


def test_later_fragments(tmp_path: Path) -> None:
    """Difference: tshark, unless it reassembles, gives later fragments to no flow; we give them to the first one's."""
    segment = p.udp_segment(p.SPEAKER, 5000, p.SERVER, 99, bytes(2000))
    frames = [
        p.ethernet(p.ip(p.SPEAKER, p.SERVER, 17, segment[at : at + 800], offset=at, more=at < 1600))
        for at in (0, 800, 1600)
    ]  # fmt: skip
    path = tmp_path / "x.cap"
    path.write_bytes(pcap(timed(frames)))
    ((packets, size),) = flows_of(read_capture(path)).values()
    ((first, first_size),) = tshark.ask(path).flows.values()
    assert (packets, first) == (3, 1)
    assert size - first_size == len(frames[1]) + len(frames[2])


def test_a_hello_that_is_not_complete(tmp_path: Path) -> None:
    """Difference: tshark wants the whole ClientHello; we take the name from what was captured of it."""
    hello = p.hello_stream(b"first-half.test")
    cut = hello[: len(hello) - 3]
    path = tmp_path / "x.cap"
    path.write_bytes(pcap(timed(map(p.ethernet, p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, cut)])))))
    assert list(names_of(read_capture(path), "sni").values()) == [{"first-half.test"}]
    assert told(tshark.ask(path), "sni") == {}
