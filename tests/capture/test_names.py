"""How flows get their names: TLS, QUIC, HTTP and DNS, in that order, from whatever the segments look like."""

import itertools
import struct
from pathlib import Path

import pytest

from tests.capture import packets as p
from tests.capture.captures import START, pcap, read, read_frames, reasons, timed

NAME = b"avs-alexa-14-na.amazon.com"
HELLO = p.hello_stream(NAME)
LONG = p.hello_stream(NAME, padding=3000)


def flows(tmp_path: Path, packets, **options) -> list[dict]:
    return read_frames(tmp_path, map(p.ethernet, packets), **options).flows.to_pylist()


def pieces(stream: bytes, count: int) -> list[tuple[int, bytes]]:
    size = -(-len(stream) // count)
    return [(at, stream[at : at + size]) for at in range(0, len(stream), size)]


def stream_names(tmp_path: Path, upward, *, handshake: bool = True, isn: int = 1000) -> list[str]:
    packets = p.connection(p.SPEAKER, 40000, p.SERVER, 443, upward, isn)
    (flow,) = flows(tmp_path, packets if handshake else packets[3:])
    return flow["candidates"]


@pytest.mark.parametrize("handshake", [True, False])
@pytest.mark.parametrize("stream", [HELLO, LONG])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_split_hello_in_any_order(tmp_path: Path, stream: bytes, order: tuple[int, ...], handshake: bool) -> None:
    parts = pieces(stream, 3)
    assert stream_names(tmp_path, [parts[n] for n in order], handshake=handshake) == [f"sni={NAME.decode()}"]


def test_a_server_that_is_seen_to_answer_first_does_not_hide_the_name(tmp_path: Path) -> None:
    """The client's SYN was missed, and the capture has the server's answer before the end of the hello."""
    first, second = pieces(HELLO, 2)
    _, accept, _, *hello = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [first, second])
    answer = p.tcp(p.SERVER, 443, p.SPEAKER, 40000, p.ACK, 7001, b"\x16\x03\x03\0\x30\x02" + bytes(47))
    assert flows(tmp_path, [accept, hello[0], answer, hello[1]])[0]["host"] == NAME.decode()


@pytest.mark.parametrize("isn", [1000, 2**32 - 60, 2**31 - 60, 0])
def test_sequence_numbers_wrap(tmp_path: Path, isn: int) -> None:
    assert stream_names(tmp_path, pieces(LONG, 5)[::-1], isn=isn) == [f"sni={NAME.decode()}"]


def test_segments_of_one_byte_repeated_and_overlapping(tmp_path: Path) -> None:
    single = pieces(HELLO, len(HELLO))
    overlapping = [(at, HELLO[at : at + 50]) for at in range(0, len(HELLO), 20)]
    damaged = [(0, HELLO[:60]), (30, b"\xff" * 30), (60, HELLO[60:])]  # what came first stays
    keep_alive = [(-1, b"\0"), (0, HELLO)]
    for upward in (single, single + single, overlapping[::-1], damaged, keep_alive):
        assert stream_names(tmp_path, upward) == [f"sni={NAME.decode()}"]


def test_a_hello_in_several_records(tmp_path: Path) -> None:
    assert stream_names(tmp_path, [(0, p.tls_records(p.client_hello(NAME), size=40))]) == [f"sni={NAME.decode()}"]


def test_a_hole_hides_the_name_and_is_a_gap(tmp_path: Path) -> None:
    first, _, third = pieces(LONG, 3)
    packets = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [first, third])
    capture = read_frames(tmp_path, map(p.ethernet, packets))
    assert capture.flows["host"].to_pylist() == [None]
    size = sum(14 + len(packet) for packet in packets)
    assert reasons(capture)["no_name"] == f"1 of 1 flow ({size} bytes) without a name, 1 of them to public addresses"


def test_the_name_is_read_from_the_part_that_was_captured(tmp_path: Path) -> None:
    frames = [
        p.ethernet(packet) for packet in p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, HELLO + bytes(1000))])
    ]
    capture = read(tmp_path, pcap(timed(frames, snap=54 + len(HELLO) - 3)))
    assert capture.flows["host"].to_pylist() == [NAME.decode()]


def test_a_hello_without_server_name_and_a_server_that_speaks_give_nothing(tmp_path: Path) -> None:
    assert stream_names(tmp_path, [(0, p.hello_stream(None))]) == []
    packets = p.connection(p.SPEAKER, 40000, p.SERVER, 443, [])
    packets.append(p.tcp(p.SERVER, 443, p.SPEAKER, 40000, p.ACK, 7001, HELLO))
    assert flows(tmp_path, packets)[0]["candidates"] == []


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"Example.TEST", ["http_host=example.test"]),
        (b"example.test:8080", ["http_host=example.test"]),
        (b"example.test.", ["http_host=example.test"]),
        (b"192.168.1.70:1400", []),
        (b"[2001:db8::1]:80", []),
        (b"", []),
    ],
)
def test_http_host(tmp_path: Path, host: bytes, expected: list[str]) -> None:
    request = p.http_request(host)
    for upward in ([(0, request)], pieces(request, 4)[::-1]):
        packets = p.connection(p.SPEAKER, 40000, p.SERVER, 8080, upward)
        capture = read_frames(tmp_path, map(p.ethernet, packets))
        assert capture.flows["candidates"].to_pylist() == [expected]
        assert "bad_name" not in reasons(capture)


def test_a_host_in_the_body_is_no_host(tmp_path: Path) -> None:
    request = b"POST / HTTP/1.0\r\nContent-Length: 30\r\n\r\nx\r\nHost: evil.test\r\n\r\n"
    assert stream_names(tmp_path, [(0, request)]) == []


def quic(*datagrams: bytes, port: int = 443) -> list[bytes]:
    return [p.udp(p.SPEAKER, 50000, p.SERVER, port, datagram) for datagram in datagrams]


@pytest.mark.parametrize("version", [1, 0x6B3343CF, 0xFF00001D])
def test_quic_initial(tmp_path: Path, version: int) -> None:
    datagram = p.quic_hello(b"QUIC.test", b"\x08" * 8, version=version)
    (flow,) = flows(tmp_path, quic(datagram))
    assert (flow["host"], flow["host_source"], flow["candidates"]) == ("quic.test", "quic_sni", ["quic_sni=quic.test"])


def test_quic_hello_over_several_packets_frames_and_datagrams(tmp_path: Path) -> None:
    hello = p.client_hello(b"quic.test", padding=1400)
    cuts = [hello[:500], hello[500:900], hello[900:1500], hello[1500:]]
    frames = [p.crypto_frame(sum(map(len, cuts[:n])), cut) for n, cut in enumerate(cuts)]
    first, later = b"\x08" * 8, b"\x09" * 8
    ping_ack = b"\x01\x02\x05\x01\x01\x00\x01\x02\0\0"
    coalesced = p.quic_initial(frames[3] + ping_ack, first, size=800) + p.quic_initial(
        frames[1], first, number=1, size=600
    )
    # Once the server has answered, the client addresses the server's id; the keys stay those of its first one.
    rest = p.quic_initial(ping_ack + frames[0] + frames[2], later, key_id=first, number=2, size=1350)
    for port in (443, 4433):
        (flow,) = flows(tmp_path, quic(coalesced, rest, port=port))
        assert flow["candidates"] == ["quic_sni=quic.test"]


def test_quic_after_a_retry_uses_new_keys(tmp_path: Path) -> None:
    hello = p.client_hello(b"quic.test", padding=1000)
    start = p.quic_initial(p.crypto_frame(0, hello[:600]), b"\x08" * 8)
    again = p.quic_initial(p.crypto_frame(600, hello[600:]), b"\x0a" * 8)
    (flow,) = flows(tmp_path, quic(start, again))
    assert flow["candidates"] == ["quic_sni=quic.test"]


def test_a_damaged_quic_packet_gives_nothing(tmp_path: Path) -> None:
    datagram = bytearray(p.quic_hello(b"quic.test", b"\x08" * 8))
    datagram[-1] ^= 1
    assert flows(tmp_path, quic(bytes(datagram)))[0]["candidates"] == []


def dns(answer: bytes, client: str = p.SPEAKER, port: int = 33333) -> bytes:
    return p.udp(p.RESOLVER, 53, client, port, answer)


def contact(client: str = p.SPEAKER, server: str = p.SERVER, port: int = 40000) -> bytes:
    return p.tcp(client, port, server, 443, p.SYN, 1)


def hosts_by_port(tmp_path: Path, frames: list[bytes]) -> dict[int, str | None]:
    capture = read_frames(tmp_path, frames)
    return {flow["client_port"]: flow["host"] for flow in capture.flows.to_pylist() if flow["server_port"] == 443}


def test_the_latest_answer_to_this_client_before_the_flow(tmp_path: Path) -> None:
    packets = [
        contact(port=1),  # before any answer
        dns(p.dns_answer(b"First.test", [p.SERVER])),
        contact(port=2),
        dns(p.dns_answer(b"second.test", ["9.9.9.9", p.SERVER])),
        contact(port=3),
        contact(client=p.PHONE, port=4),  # asked by another
        dns(p.dns_answer(b"third.test", [p.SERVER])),
        contact(port=3),  # the flow began before
    ]
    frames = [p.ethernet(packet) for packet in packets]
    assert hosts_by_port(tmp_path, frames) == {1: None, 2: "first.test", 3: "second.test", 4: None}


def test_the_order_in_time_counts_not_the_order_in_the_file(tmp_path: Path) -> None:
    early, late = (p.ethernet(dns(p.dns_answer(name, [p.SERVER]))) for name in (b"early.test", b"late.test"))
    frame = p.ethernet(contact(port=5))
    packets = [(START + at, data, len(data)) for at, data in ((900, late), (500, frame), (100, early))]
    (flow,) = [row for row in read(tmp_path, pcap(packets)).flows.to_pylist() if row["server_port"] == 443]
    assert (flow["host"], flow["host_source"], flow["candidates"]) == ("early.test", "dns", ["dns=early.test"])


def test_an_answer_over_ipv4_names_the_same_device_over_ipv6_only(tmp_path: Path) -> None:
    answer = dns(p.dns_answer(b"six.test", [p.SERVER6, p.SERVER]))
    frames = [
        p.ethernet(answer, source=p.ROUTER_MAC, target=p.SPEAKER_MAC),
        p.ethernet(contact(p.SPEAKER6, p.SERVER6, 6)),
        p.ethernet(contact("2001:db8:7::21", p.SERVER6, 7), source=p.PHONE_MAC),
        p.ethernet(contact(p.PHONE, p.SERVER, 8)),  # another IPv4 client behind the same hardware address
    ]
    assert hosts_by_port(tmp_path, frames) == {6: "six.test", 7: None, 8: None}


def test_cnames_lead_to_the_asked_name(tmp_path: Path) -> None:
    answer = p.dns_answer(b"Asked.test", [p.SERVER, "9.9.9.9"], cnames=[b"alias.cdn.test", b"edge.cdn.test"], ttl=77)
    capture = read_frames(tmp_path, [p.ethernet(dns(answer)), p.ethernet(contact())])
    rows = [(row["client_ip"], row["name"], row["address"], row["ttl"]) for row in capture.dns.to_pylist()]
    assert rows == [(p.SPEAKER, "asked.test", address, 77) for address in (p.SERVER, "9.9.9.9")]
    assert {row["locator"] for row in capture.dns.to_pylist()} == {"packet 1"}
    assert capture.flows["host"].to_pylist() == [None, "asked.test"]


def test_an_unasked_address_keeps_its_own_name(tmp_path: Path) -> None:
    header = struct.pack(">HHHHHH", 7, 0x8180, 1, 1, 0, 0) + p.dns_name(b"asked.test") + b"\0\1\0\1"
    stray = p.dns_name(b"stray.test") + struct.pack(">HHIH", 1, 1, 60, 4) + p.packed(p.SERVER)
    capture = read_frames(tmp_path, [p.ethernet(dns(header + stray))])
    assert capture.dns["name"].to_pylist() == ["stray.test"]


def test_queries_other_ports_and_multicast_dns_name_nothing(tmp_path: Path) -> None:
    answer = p.dns_answer(b"x.test", [p.SERVER])
    packets = [
        p.udp(p.RESOLVER, 53, p.SPEAKER, 33333, p.dns_query(b"x.test")),
        p.udp(p.RESOLVER, 5353, "224.0.0.251", 5353, answer),
        p.udp(p.SPEAKER, 33333, p.RESOLVER, 53, answer),
    ]
    assert read_frames(tmp_path, map(p.ethernet, packets)).dns.num_rows == 0


@pytest.mark.parametrize("handshake", [True, False])
def test_dns_over_tcp(tmp_path: Path, handshake: bool) -> None:
    messages = [p.dns_answer(b"one.test", [p.SERVER]), p.dns_answer(b"two.test", ["9.9.9.9"])]
    stream = b"".join(struct.pack(">H", len(message)) + message for message in messages)
    packets = p.connection(p.SPEAKER, 40000, p.RESOLVER, 53, [(0, b"\0\x1dquery")])
    parts = pieces(stream, 3)
    packets += [p.tcp(p.RESOLVER, 53, p.SPEAKER, 40000, p.ACK, 7001 + at, data) for at, data in parts]
    capture = read_frames(tmp_path, map(p.ethernet, packets if handshake else packets[4:]))
    assert capture.dns.select(["client_ip", "name", "address"]).to_pylist() == [
        {"client_ip": p.SPEAKER, "name": "one.test", "address": p.SERVER},
        {"client_ip": p.SPEAKER, "name": "two.test", "address": "9.9.9.9"},
    ]


def test_what_is_not_dns_on_its_port_is_counted(tmp_path: Path) -> None:
    loop = struct.pack(">HHHHHH", 7, 0x8180, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1"
    cut = p.dns_answer(b"x.test", [p.SERVER])[:16]
    capture = read_frames(tmp_path, [p.ethernet(dns(message)) for message in (loop, cut, b"\0\0\x80")])
    assert reasons(capture)["malformed_dns"] == "3 messages from port 53 that cannot be read as DNS"


def test_all_candidates_best_first(tmp_path: Path) -> None:
    packets = [
        dns(p.dns_answer(b"dns.test", [p.SERVER])),
        *p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, p.http_request(b"http.test"))], isn=1),
        *p.connection(p.SPEAKER, 40000, p.SERVER, 443, [(0, p.hello_stream(b"tls.test"))], isn=10**6),
        *quic(p.quic_hello(b"quic.test", b"\x08" * 8)),
    ]
    _, tls, quic_flow = flows(tmp_path, packets)
    assert tls["candidates"] == ["sni=tls.test", "http_host=http.test", "dns=dns.test"]
    assert (tls["host"], tls["host_source"]) == ("tls.test", "sni")
    assert quic_flow["candidates"] == ["quic_sni=quic.test", "dns=dns.test"]


HOSTILE = [
    b"<script>alert(1)</script>",
    b"=cmd|'/c calc'!a0",
    b"-dash.test",
    b"a..test",
    b"x" * 64 + b".test",
    b"a." * 127 + b"test",
    b"caf\xc3\xa9.test",
    b"a.test\0.evil",
    b"a b.test",
    b"../../etc/passwd",
    b"';drop table flows;--",
    b"1234",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_never_pass(tmp_path: Path, name: bytes) -> None:
    packets = [
        *p.connection(p.SPEAKER, 1, p.SERVER, 443, [(0, p.hello_stream(name))]),
        *p.connection(p.SPEAKER, 2, p.SERVER, 80, [(0, p.http_request(name))]),
        *quic(p.quic_hello(name, b"\x08" * 8)),
    ]
    capture = read_frames(tmp_path, map(p.ethernet, packets))
    assert capture.flows["host"].to_pylist() == [None] * 3
    assert capture.flows["candidates"].to_pylist() == [[]] * 3
    details = [str(gap["detail"]) for gap in capture.gaps if gap["reason"] == "bad_name"]
    assert sorted(detail.split(" not valid")[0] for detail in details) == [
        f"1 name from {source}" for source in ("http_host", "quic_sni", "sni")
    ]
    assert not any(character in "".join(details) for character in "<>'\"=|/")


def test_a_hostile_label_in_dns_cannot_pose_as_a_dot(tmp_path: Path) -> None:
    message = bytearray(p.dns_answer(b"www-good.test", [p.SERVER]))
    message[16] = ord(".")  # one label "www.good"
    capture = read_frames(tmp_path, [p.ethernet(dns(bytes(message)))])
    assert capture.dns.num_rows == 0
    assert str(reasons(capture)["bad_name"]).startswith("1 name from dns not valid")
