"""Which packets make a flow, who its client is, and what is counted."""

import socket
import struct
from pathlib import Path

import pytest

from earwitness.model.identity import row_id
from tests.capture import packets as p
from tests.capture.captures import START, pcap, read, read_frames, reasons, timed

HELLO = p.hello_stream(b"a.test")
CONNECTION = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, HELLO)])


def ends(capture) -> list[tuple[str, int, str, int]]:
    columns = ("client_ip", "client_port", "server_ip", "server_port")
    return list(zip(*(capture.flows[column].to_pylist() for column in columns), strict=True))


@pytest.mark.parametrize(
    ("link", "wrap", "mac"),
    [
        (1, p.ethernet, p.SPEAKER_MAC),
        (1, lambda packet: p.ethernet(packet, tags=[(0x8100, 7)]), p.SPEAKER_MAC),
        (1, lambda packet: p.ethernet(packet, tags=[(0x88A8, 7), (0x8100, 9)]), p.SPEAKER_MAC),
        (1, lambda packet: p.ethernet(packet, tags=[(0x9100, 7), (0x8100, 9)]), p.SPEAKER_MAC),
        (1, p.snap, p.SPEAKER_MAC),
        (113, p.sll, p.SPEAKER_MAC),
        (276, p.sll2, p.SPEAKER_MAC),
        (101, bytes, None),
        (12, bytes, None),
        (228, bytes, None),
        (0, p.null, None),
        (0, lambda packet: p.null(packet, ">"), None),
        (108, lambda packet: p.null(packet, ">"), None),
    ],
)
def test_link_types(tmp_path: Path, link: int, wrap, mac: str | None) -> None:
    capture = read_frames(tmp_path, [wrap(packet) for packet in CONNECTION], link=link)
    (flow,) = capture.flows.to_pylist()
    assert (flow["host"], flow["client_mac"], flow["packets_up"]) == ("a.test", mac, 3)


@pytest.mark.parametrize(
    ("link", "wrap"), [(1, p.ethernet), (113, p.sll), (276, p.sll2), (101, bytes), (229, bytes), (0, p.null)]
)
def test_link_types_carry_ipv6(tmp_path: Path, link: int, wrap) -> None:
    packets = p.connection(p.SPEAKER6, 40000, p.SERVER6, 443, [(0, HELLO)])
    capture = read_frames(tmp_path, [wrap(packet) for packet in packets], link=link)
    (flow,) = capture.flows.to_pylist()
    assert (flow["client_ip"], flow["server_ip"], flow["host"]) == (p.SPEAKER6, p.SERVER6, "a.test")


def test_a_frame_check_sequence_in_the_header_does_not_hide_the_link_type(tmp_path: Path) -> None:
    data = bytearray(pcap(timed([p.ethernet(packet) + b"FCS!" for packet in CONNECTION])))
    data[20:24] = struct.pack("<I", 0x2400_0001)  # four bytes of FCS, Ethernet
    capture = read(tmp_path, bytes(data))
    assert capture.flows["host"].to_pylist() == ["a.test"]


def test_another_link_type_is_counted_and_said(tmp_path: Path) -> None:
    capture = read_frames(tmp_path, CONNECTION, link=127)
    assert (capture.packets, capture.bytes) == (4, sum(map(len, CONNECTION)))
    assert capture.flows.num_rows == 0
    assert not capture.truncated
    detail = "4 packets of link type 127 (IEEE 802.11 with radiotap) counted but not read"
    assert reasons(capture) == {"unsupported_link_type": detail}


@pytest.mark.parametrize(
    ("frames", "client"),
    [
        # The sender of the SYN, even where it is the public side with the lower port.
        ([p.tcp(p.SERVER, 80, p.SPEAKER, 40000, p.SYN, 5)], (p.SERVER, 80)),
        # A SYN with ACK is an answer: the private side decides.
        ([p.tcp(p.SERVER, 50000, p.SPEAKER, 443, p.SYN | p.ACK, 5)], (p.SPEAKER, 443)),
        ([p.udp(p.SERVER, 50000, p.SPEAKER, 443, b"x")], (p.SPEAKER, 443)),
        # Both private, or both public: the higher port.
        ([p.udp(p.PHONE, 500, p.SPEAKER, 499, b"x")], (p.PHONE, 500)),
        ([p.udp(p.SERVER6, 443, p.SPEAKER6, 50000, b"x")], (p.SPEAKER6, 50000)),
        # Link-local and unique local addresses are private.
        ([p.udp("2001:db8::1", 9, "fe80::1", 8, b"x")], ("fe80::1", 8)),
        ([p.udp("2001:db8::1", 9, "fd00::1", 8, b"x")], ("fd00::1", 8)),
        ([p.udp("8.8.8.8", 9, "169.254.3.3", 8, b"x")], ("169.254.3.3", 8)),
        ([p.udp("172.32.0.1", 9, "172.31.0.1", 8, b"x")], ("172.31.0.1", 8)),
        # The same port on both sides: who spoke first.
        ([p.udp(p.SPEAKER, 123, p.PHONE, 123, b"x"), p.udp(p.PHONE, 123, p.SPEAKER, 123, b"x")], (p.SPEAKER, 123)),
        ([p.udp(p.PHONE, 123, p.SPEAKER, 123, b"x"), p.udp(p.SPEAKER, 123, p.PHONE, 123, b"x")], (p.PHONE, 123)),
    ],
)  # fmt: skip
def test_the_client(tmp_path: Path, frames: list[bytes], client: tuple[str, int]) -> None:
    (found,) = ends(read_frames(tmp_path, map(p.ethernet, frames)))
    assert found[:2] == client


def test_both_directions_are_one_flow_with_its_sums_and_moments(tmp_path: Path) -> None:
    up, down = p.udp(p.SPEAKER, 5000, p.SERVER, 99, bytes(100)), p.udp(p.SERVER, 99, p.SPEAKER, 5000, bytes(10))
    frames = [p.ethernet(packet) for packet in (up, down, up, up)]
    capture = read_frames(tmp_path, frames)
    (flow,) = capture.flows.to_pylist()
    assert (flow["packets_up"], flow["packets_down"]) == (3, 1)
    assert (flow["bytes_up"], flow["bytes_down"]) == (3 * len(frames[0]), len(frames[1]))
    assert flow["protocol"] == "udp"
    assert [int(flow[key].timestamp() * 1e6) - START for key in ("first_seen", "last_seen")] == [0, 3000]
    assert flow["flow"] == row_id(capture.sha256, "udp", p.SPEAKER, 5000, p.SERVER, 99)
    rows = capture.packets_of_flows.to_pylist()
    assert [row["up"] for row in rows] == [True, False, True, True]
    assert [row["bytes"] for row in rows] == [len(frame) for frame in frames]
    assert {row["flow"] for row in rows} == {flow["flow"]}


def test_packets_out_of_order_in_time(tmp_path: Path) -> None:
    frame = p.ethernet(p.udp(p.SPEAKER, 5000, p.SERVER, 99, b"x"))
    packets = [(START + at, frame, len(frame)) for at in (500, 900, 100)]
    (flow,) = read(tmp_path, pcap(packets)).flows.to_pylist()
    assert [int(flow[key].timestamp() * 1e6) - START for key in ("first_seen", "last_seen")] == [100, 900]


@pytest.mark.parametrize("between", [0, 66_000])  # packets; the larger number puts a batch of records between
def test_ports_used_again_stay_one_flow_with_the_names_of_both_connections(tmp_path: Path, between: int) -> None:
    first = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, HELLO)], isn=1000)
    closed = [p.tcp(p.SPEAKER, 40000, p.SERVER, 443, p.RST, 2000)]
    second = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, p.hello_stream(b"b.test"))], isn=9_000_000)
    idle = [p.ethernet(p.ip(p.SERVER, p.SPEAKER, 1, b"\0\0\0\0"))] * between
    capture = read_frames(tmp_path, [*map(p.ethernet, first + closed), *idle, *map(p.ethernet, second)])
    (flow,) = capture.flows.to_pylist()
    assert flow["packets_up"] + flow["packets_down"] == 9
    assert flow["candidates"] == ["sni=a.test", "sni=b.test"]
    assert flow["host"] == "a.test"


def test_addresses_inside_icmp_errors_make_no_flows(tmp_path: Path) -> None:
    error = p.ip(p.SERVER, p.SPEAKER, 1, b"\x03\x03\0\0\0\0\0\0" + p.udp(p.SPEAKER, 5000, "9.9.9.9", 99, b"x"))
    error6 = p.ip(p.SERVER6, p.SPEAKER6, 58, b"\x01\x04\0\0\0\0\0\0" + p.udp(p.SPEAKER6, 5000, "2001:db8::9", 99, b"x"))
    capture = read_frames(tmp_path, map(p.ethernet, [error, error6]))
    assert (capture.packets, capture.flows.num_rows) == (2, 0)


def test_ipv6_extension_headers_are_walked(tmp_path: Path) -> None:
    chain = [(0, bytes(6)), (60, bytes(14)), (43, bytes(6)), (51, bytes(10)), (135, bytes(6))]
    packet = p.udp(p.SPEAKER6, 5000, p.SERVER6, 99, b"x", extensions=chain)
    assert ends(read_frames(tmp_path, [p.ethernet(packet)])) == [(p.SPEAKER6, 5000, p.SERVER6, 99)]


@pytest.mark.parametrize(("client", "server"), [(p.SPEAKER, p.SERVER), (p.SPEAKER6, p.SERVER6)])
def test_fragments_belong_to_the_flow_of_the_first_one(tmp_path: Path, client: str, server: str) -> None:
    segment = p.udp_segment(client, 5000, server, 99, bytes(2000))

    def fragment(at: int, to: int, identification: int) -> bytes:
        part = segment[at:to]
        return p.ethernet(
            p.ip(client, server, 17, part, identification=identification, offset=at, more=to < len(segment))
        )

    seen = [fragment(0, 800, 7), fragment(1600, 2008, 7), fragment(800, 1600, 7)]
    orphans = [fragment(800, 1600, 8), fragment(1600, 2008, 8)]
    capture = read_frames(tmp_path, orphans + seen)
    (flow,) = capture.flows.to_pylist()
    assert (capture.packets, flow["packets_up"]) == (5, 3)
    assert flow["bytes_up"] == sum(map(len, seen))
    assert capture.packets_of_flows.num_rows == 3
    late = [(START, seen[0], len(seen[0])), (START + 61_000_000, seen[1], len(seen[1]))]
    (flow,) = read(tmp_path, pcap(late)).flows.to_pylist()
    assert flow["packets_up"] == 1


def test_reading_again_gives_the_same_even_where_fragments_are_forgotten(tmp_path: Path) -> None:
    segment = p.udp_segment(p.SPEAKER, 5000, p.SERVER, 99, bytes(24))
    first = [p.ethernet(p.ip(p.SPEAKER, p.SERVER, 17, segment[:16], identification=n, more=True)) for n in range(9000)]
    later = [p.ethernet(p.ip(p.SPEAKER, p.SERVER, 17, segment[16:], identification=n, offset=16)) for n in range(9000)]
    one, two = (read_frames(tmp_path, first + later) for _ in range(2))
    assert (one.flows, one.packets_of_flows, one.gaps) == (two.flows, two.packets_of_flows, two.gaps)
    assert 9000 < one.packets_of_flows.num_rows < 18_000  # at most 4,096 datagrams wait at a time


def test_a_fragmented_first_segment_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    packets = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [])
    data = p.tcp(p.SPEAKER, 40000, p.SERVER, 443, p.ACK, 1001, HELLO)[20:]
    packets.append(p.ip(p.SPEAKER, p.SERVER, 6, data[:96], more=True))
    packets.append(p.ip(p.SPEAKER, p.SERVER, 6, data[96:], offset=96))
    capture = read_frames(tmp_path, map(p.ethernet, packets))
    assert capture.flows["packets_up"].to_pylist() == [4]


def test_ipv4_and_ipv6_addresses_of_equal_bits_are_different(tmp_path: Path) -> None:
    packets = [p.udp("0.0.0.5", 5, "0.0.0.6", 6, b"x"), p.udp("::5", 5, "::6", 6, b"x")]
    assert read_frames(tmp_path, map(p.ethernet, packets)).flows.num_rows == 2


def test_many_flows_keep_apart_and_in_order(tmp_path: Path) -> None:
    number = 70_000  # more than one batch of records, and several growths of the tables
    frame = p.ethernet(p.udp(p.SPEAKER, 5000, p.SERVER, 99, b""))
    servers = [struct.pack(">I", (9 << 24) + n) for n in range(number)]
    frames = [frame[:30] + server + frame[34:] for server in servers]
    capture = read_frames(tmp_path, [*frames, *frames[::-1]])
    assert capture.flows["server_ip"].to_pylist() == list(map(socket.inet_ntoa, servers))
    assert set(capture.flows["packets_up"].to_pylist()) == {2}
    assert len(set(capture.flows["flow"].to_pylist())) == number


@pytest.mark.parametrize(
    "packet",
    [
        b"\x45" + bytes(10),  # ends inside the IPv4 header
        b"\x42" + p.udp(p.SPEAKER, 5000, p.SERVER, 99, b"x")[1:],  # a header of two words
        b"\x65" + p.udp(p.SPEAKER, 5000, p.SERVER, 99, b"x")[1:],  # the version of IPv6
        p.ip(p.SPEAKER, p.SERVER, 17, b"abcdefgh", total_length=10),
        p.ip(p.SPEAKER, p.SERVER, 17, b"ab"),  # ends inside the ports
        p.ip(p.SPEAKER6, p.SERVER6, 17, b"")[:30],
        p.ip(p.SPEAKER6, p.SERVER6, 0, b"\x11\xff"),  # an extension header longer than the packet
    ],
)
def test_malformed_packets_are_counted(tmp_path: Path, packet: bytes) -> None:
    frame = bytes(12) + (b"\x86\xdd" if packet[0] == 0x60 else b"\x08\x00") + packet
    capture = read_frames(tmp_path, [frame, p.ethernet(p.udp(p.SPEAKER, 5000, p.SERVER, 99, b"x"))])
    assert (capture.packets, capture.flows.num_rows) == (2, 1)
    assert reasons(capture)["malformed"] == "1 packet with headers that are cut or contradict themselves"


def test_headers_cut_by_the_snap_length_still_tell_the_flow(tmp_path: Path) -> None:
    frames = [p.ethernet(packet) for packet in CONNECTION]
    capture = read(tmp_path, pcap(timed(frames, snap=14 + 20 + 8)))
    (flow,) = capture.flows.to_pylist()
    assert (flow["packets_up"], flow["packets_down"], flow["bytes_up"] + flow["bytes_down"]) == (
        3,
        1,
        sum(map(len, frames)),
    )
    assert "malformed" not in reasons(capture)


def test_a_length_of_zero_is_left_to_the_network_card(tmp_path: Path) -> None:
    packets = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [])
    packets.append(p.tcp(p.SPEAKER, 40000, p.SERVER, 443, p.ACK, 1001, HELLO, total_length=0))
    assert read_frames(tmp_path, map(p.ethernet, packets)).flows["host"].to_pylist() == ["a.test"]


def test_ethernet_padding_is_no_payload(tmp_path: Path) -> None:
    packets = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, HELLO[:1]), (1, HELLO[1:])])
    frames = [p.ethernet(packet).ljust(60, b"\x99") for packet in packets]
    assert read_frames(tmp_path, frames).flows["host"].to_pylist() == ["a.test"]


def test_tunnels_are_not_opened_and_that_is_said(tmp_path: Path) -> None:
    inner = p.udp(p.SPEAKER, 5000, p.SERVER, 99, b"x")
    tunnelled = [p.ethernet(p.ip("9.9.9.9", "9.9.9.8", protocol, inner)) for protocol in (4, 47, 50)]
    pppoe = bytes(12) + b"\x88\x64\x11\0\0\1" + struct.pack(">H", len(inner) + 2) + b"\0\x21" + inner
    capture = read_frames(tmp_path, [*tunnelled, pppoe])
    assert capture.flows.num_rows == 0
    assert str(reasons(capture)["encapsulated"]).startswith("4 packets in a tunnel")


def test_devices_are_clients_on_the_private_side(tmp_path: Path) -> None:
    speaker6 = "fe80::6adb:f5ff:fe00:1"
    frames = [
        *(p.ethernet(packet) for packet in CONNECTION),
        p.ethernet(p.udp(speaker6, 5353, "ff02::fb", 5353, b"x"), target="33:33:00:00:00:fb"),
        p.ethernet(p.udp(p.SPEAKER6, 5000, p.SERVER6, 99, b"x")),
        p.ethernet(p.udp(p.PHONE, 5000, p.SERVER, 99, b"x"), source=p.PHONE_MAC),
        # Somebody outside asks the speaker: the router's hardware address is no device.
        p.ethernet(p.tcp("8.8.8.8", 50000, p.SPEAKER, 80, p.SYN, 1), source=p.ROUTER_MAC, target=p.SPEAKER_MAC),
    ]
    speaker, phone = read_frames(tmp_path, frames).devices
    assert (speaker["mac"], speaker["ip"], speaker["vendor"]) == (p.SPEAKER_MAC, p.SPEAKER, "Amazon Technologies Inc.")
    assert speaker["packets"] == 6
    assert speaker["bytes_up"] == sum(len(frames[n]) for n in (0, 2, 3, 4, 5))
    assert speaker["bytes_down"] == len(frames[1])
    assert (phone["mac"], phone["vendor"], phone["packets"]) == (p.PHONE_MAC, "randomised", 1)


def test_the_client_hardware_address_is_known_from_answers_alone(tmp_path: Path) -> None:
    answer = p.ethernet(p.udp(p.SERVER, 99, p.SPEAKER, 5000, b"x"), source=p.ROUTER_MAC, target=p.SPEAKER_MAC)
    group = p.ethernet(p.udp(p.SERVER, 99, p.PHONE, 5000, b"x"), source=p.ROUTER_MAC, target="01:00:5e:00:00:01")
    assert read_frames(tmp_path, [answer, group]).flows["client_mac"].to_pylist() == [p.SPEAKER_MAC, None]
