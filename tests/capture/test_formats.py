"""Every variant of pcap and pcapng gives the same packets; everything else is refused with a place and a reason."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from earwitness.capture import PACKETS_OF_FLOWS, read_capture
from earwitness.model.errors import BadInput
from earwitness.model.tables import TABLES
from tests.capture import captures
from tests.capture import packets as p
from tests.capture.captures import START, Interface, pcap, pcapng, read, reasons, timed

FRAMES = [
    p.ethernet(packet) for packet in p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, p.hello_stream(b"a.test"))])
]
PACKETS = timed(FRAMES)
ORDERS = [pytest.param("<", id="little"), pytest.param(">", id="big")]


def assert_read(capture, kind: str) -> None:
    assert (capture.kind, capture.packets, capture.truncated) == (kind, 4, False)
    assert capture.bytes == sum(map(len, FRAMES))
    assert capture.flows.schema == TABLES["flows"].schema
    assert capture.dns.schema == TABLES["dns_answers"].schema
    assert capture.packets_of_flows.schema == PACKETS_OF_FLOWS
    (flow,) = capture.flows.to_pylist()
    assert (flow["client_ip"], flow["client_port"], flow["server_ip"], flow["server_port"]) == (
        p.SPEAKER,
        40000,
        p.SERVER,
        443,
    )
    assert (flow["packets_up"], flow["packets_down"]) == (3, 1)
    assert (flow["host"], flow["host_source"], flow["candidates"]) == ("a.test", "sni", ["sni=a.test"])
    assert flow["evidence"] == flow["capture"] == capture.sha256
    assert flow["locator"] == "packet 1"


def times(capture) -> list[int]:
    return capture.packets_of_flows["at"].cast("int64").to_pylist()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_in_both_byte_orders_and_units(tmp_path: Path, order: str, nano: bool) -> None:
    capture = read(tmp_path, pcap(PACKETS, order=order, nano=nano))
    assert_read(capture, "pcap")
    assert times(capture) == [START + 1000 * n for n in range(4)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", ["enhanced", "obsolete"])
@pytest.mark.parametrize("resolution", [None, 6, 9, 3, 12, 0x80 | 20, 0x80 | 30])
def test_pcapng_blocks_and_time_resolutions(tmp_path: Path, order: str, kind: str, resolution: int | None) -> None:
    packets = timed(FRAMES, start=1_700_000_000_000_000 if resolution != 12 else 1_000_000_000_000)
    interface = Interface(resolution=resolution)
    capture = read(tmp_path, pcapng(packets, order=order, kind=kind, interfaces=[interface]))
    assert_read(capture, "pcapng")
    exact = [at for at, _, _ in packets]
    slack = 1 if resolution == 0x80 | 20 else 0  # a 2⁻²⁰ s unit is not a whole number of µs
    assert all(abs(ours - theirs) <= slack for ours, theirs in zip(times(capture), exact, strict=True))


def test_interfaces_have_their_own_link_type_resolution_and_offset(tmp_path: Path) -> None:
    raw = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, p.hello_stream(b"a.test"))])
    frames = [p.ethernet(raw[0]), raw[1], p.sll(raw[2]), p.sll2(raw[3])]
    interfaces = [
        Interface(link=1, resolution=9),
        Interface(link=101, offset=1_600_000_000),
        Interface(link=113, resolution=3),
        Interface(link=276, resolution=0x80 | 32, offset=-5),
    ]
    capture = read(tmp_path, pcapng(timed(frames), interfaces=interfaces))
    (flow,) = capture.flows.to_pylist()
    assert (flow["packets_up"], flow["packets_down"], flow["host"]) == (3, 1, "a.test")
    assert times(capture) == [START + 1000 * n for n in range(4)]


def test_sections_may_differ_in_byte_order_and_interfaces(tmp_path: Path) -> None:
    raw = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, p.hello_stream(b"a.test"))])
    packets = timed(FRAMES)
    first = pcapng(packets[:2], order="<", interfaces=[Interface(), Interface(link=127)][:1])
    second = pcapng(timed(raw[2:], start=packets[2][0]), order=">", interfaces=[Interface(link=101)])
    capture = read(tmp_path, first + second)
    assert capture.packets == 4
    (flow,) = capture.flows.to_pylist()
    assert (flow["packets_up"], flow["packets_down"], flow["host"]) == (3, 1, "a.test")


def test_simple_packet_blocks_have_no_time_and_that_is_said(tmp_path: Path) -> None:
    capture = read(tmp_path, pcapng(PACKETS, kind="simple"))
    assert_read(capture, "pcapng")
    assert reasons(capture)["no_time"] == "4 packets without a time, taken to be that of the packet before"
    assert times(capture) == [0] * 4


def test_simple_packet_blocks_end_at_the_snap_length(tmp_path: Path) -> None:
    """What follows the snap length is padding, and no part of the name that it cuts."""
    packets = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, p.hello_stream(b"ab.test"))])
    frames = [p.ethernet(packet) for packet in packets]
    snap = frames[3].index(b"ab.test") + 6
    assert snap % 4  # so that there is padding, enough to complete the name
    capture = read(tmp_path, pcapng(timed(frames, snap=snap), kind="simple", interfaces=[Interface(snap=snap)]))
    assert capture.bytes == sum(map(len, frames))
    assert capture.flows["host"].to_pylist() == [None]
    assert set(reasons(capture)) == {"no_time", "no_name"}


def test_other_blocks_are_passed_over_however_large(tmp_path: Path) -> None:
    statistics = captures.block("<", 5, bytes(40))
    secrets = captures.block("<", 10, bytes(11 << 20))  # more than the buffer holds
    capture = read(tmp_path, pcapng(PACKETS, among=[statistics, secrets, statistics]))
    assert_read(capture, "pcapng")


def test_a_file_of_many_blocks_is_read_through_the_buffer(tmp_path: Path) -> None:
    """Records lie across the borders of the 8 MB blocks that are read."""
    rounds = 500
    large = p.ethernet(p.udp(p.SPEAKER, 5000, p.SERVER, 9999, bytes(60_000)))
    many = timed([*FRAMES, large] * rounds)
    for data in (pcap(many), pcapng(many)):
        assert len(data) > 3 * (8 << 20)
        capture = read(tmp_path, data)
        assert capture.packets == 5 * rounds
        assert capture.bytes == rounds * (sum(map(len, FRAMES)) + len(large))
        assert capture.flows["packets_up"].to_pylist() == [3 * rounds, rounds]


def test_lengths_are_the_original_ones(tmp_path: Path) -> None:
    capture = read(tmp_path, pcap(timed(FRAMES, snap=70), snap=70))
    (flow,) = capture.flows.to_pylist()
    assert flow["bytes_up"] + flow["bytes_down"] == capture.bytes == sum(map(len, FRAMES))
    assert sum(capture.packets_of_flows["bytes"].to_pylist()) == capture.bytes


def test_times_outside_the_calendar_are_held_and_counted(tmp_path: Path) -> None:
    early, late = Interface(offset=-(10**10)), Interface(offset=10**15)
    data = pcapng([], interfaces=[early, late]) + b"".join(
        captures.packet_block("<", "enhanced", number, Interface(), (START, FRAMES[0], len(FRAMES[0])))
        for number in (0, 1)
    )
    capture = read(tmp_path, data)
    assert reasons(capture)["bad_time"] == "2 packets with a time before 1970 or after 9999"
    (flow,) = capture.flows.to_pylist()  # conversion to datetime works
    assert flow["first_seen"].year == 1970
    assert flow["last_seen"].year == 9999


def test_a_capture_without_packets_is_a_capture(tmp_path: Path) -> None:
    for data in (pcap([]), pcapng([]), captures.section(">")):
        capture = read(tmp_path, data)
        assert (capture.packets, capture.flows.num_rows, capture.gaps, capture.truncated) == (0, 0, [], False)


def test_the_name_of_the_file_does_not_matter(tmp_path: Path) -> None:
    assert_read(read(tmp_path, pcapng(PACKETS), name="x.pcap"), "pcapng")
    assert_read(read(tmp_path, pcap(PACKETS), name="x.pcapng"), "pcap")


@pytest.mark.parametrize(
    ("data", "position", "expected"),
    [
        (b"", "byte 0", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "byte 0", "this is a PNG picture"),
        (gzip.compress(pcap(PACKETS)), "byte 0", "gzip data: decompress it first"),
        (b"hello, this is text\n", "byte 0", "magic number"),
        (b"\xd4\xc3", "byte 0", "magic number"),
        (pcap(PACKETS)[:20], "byte 20", "pcap file header of 24 bytes"),
        (b"\xd4\xc3\xb2\xa1\x09\0" + bytes(18), "byte 4", "pcap version 2, not 9"),
        (pcapng(PACKETS)[:11], "byte 11", "pcapng section header"),
        (pcapng(PACKETS)[:27], "byte 27", "pcapng section header"),
        (b"\x0a\x0d\x0d\x0a" + bytes(40), "byte 8", "byte-order magic"),
        (captures.section("<")[:12] + b"\x07\0" + captures.section("<")[14:], "byte 12", "pcapng version 1, not 7"),
    ],
)  # fmt: skip
def test_what_is_no_capture_is_refused_with_place_and_reason(
    tmp_path: Path, data: bytes, position: str, expected: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path, data, name="trip.pcap")
    assert (caught.value.file, caught.value.position) == ("trip.pcap", position)
    assert expected in caught.value.expected


def test_a_file_that_cannot_be_opened_is_bad_input(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent.pcap"):
        with pytest.raises(BadInput):
            read_capture(path)


def test_numba_is_imported_only_for_a_capture(tmp_path: Path) -> None:
    (tmp_path / "picture.pcap").write_bytes(b"\x89PNG\r\n\x1a\n")
    code = f"""
import sys
from pathlib import Path
import earwitness.capture as capture
from earwitness.model.errors import BadInput
try:
    capture.read_capture(Path({str(tmp_path / "picture.pcap")!r}))
except BadInput:
    print("numba" in sys.modules, end=" ")
capture.compile_kernels()
from earwitness.capture.kernel import dissect
print("numba" in sys.modules, sum(dissect.stats.cache_misses.values()))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # This process has compiled the kernels (or found them); the other one must find them in the cache.
    assert result.stdout.split() == ["False", "True", "0"]
