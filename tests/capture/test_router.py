"""The router carries real sockets, and its capture is what a tap at the device would have seen."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from earwitness.capture.router import Router
from earwitness.model.network import Internet

MAC, DEVICE = "02:00:00:00:07:01", "192.168.7.10"
PLAIN, SECURE, MODERN, SILENT = "203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.99"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")


def internet(https: int = 1, http: int = 1, h2: int = 1) -> Internet:
    hosts = {"plain.test": PLAIN, "Secure.test": SECURE, "modern.test": MODERN}
    gateways = {"p1": "127.0.0.1"}
    return Internet(Path("ca.pem"), "", hosts, gateways, https, http, h2, frozenset({"modern.test"}))


@contextlib.asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


def tshark(pcap: Path, *fields: str, where: str = "") -> list[dict[str, str]]:
    """One dictionary per packet, with checksums verified; fails where tshark cannot read the file to its end."""
    command = ["tshark", "-n", "-r", str(pcap), "-T", "fields", "-E", "header=y", "-E", "separator=,", "-E", "quote=d"]
    command += [f"-o{layer}.check_checksum:TRUE" for layer in ("ip", "tcp", "udp")]
    command += [argument for field in fields for argument in ("-e", field)]
    ran = subprocess.run([*command, "-Y", where], capture_output=True, text=True, check=True)
    assert "cut short" not in ran.stderr
    return list(csv.DictReader(ran.stdout.splitlines()))


def assert_clean(pcap: Path) -> None:
    """Every checksum is right, and no expert of tshark has anything to say about the TCP streams."""
    assert tshark(pcap, "frame.number", where="tcp.analysis.flags || (_ws.malformed && !tcp.payload)") == []
    status = ("ip.checksum.status", "tcp.checksum.status", "udp.checksum.status")
    for row in tshark(pcap, *status):
        assert "1" in row["tcp.checksum.status"] + row["udp.checksum.status"]
        assert set("".join(row.values())) == {"1"}, "1 is good, 0 bad, 2 unverified"


def flags(pcap: Path, where: str = "tcp") -> list[tuple[str, str]]:
    """(sender, flags such as "S" or "AF") of every TCP packet."""
    return [
        (row["ip.src"], row["tcp.flags.str"].replace("·", ""))
        for row in tshark(pcap, "ip.src", "tcp.flags.str", where=where)
    ]


@needs_tshark
async def test_a_name_is_resolved_over_dns_and_both_packets_are_captured(tmp_path: Path) -> None:
    pcap = tmp_path / "router.pcap"
    async with Router(pcap, internet(), "p1") as router:
        link = router.attach(MAC, DEVICE)
        assert await link.resolve("plain.test") == [PLAIN]
        assert await link.resolve("SECURE.TEST.") == [SECURE], "names have no case"
        assert await link.resolve("nowhere.test") == []
        assert await link.resolve("a" * 64 + ".test") == [], "not a name at all"
        assert await link.resolve("a..test") == []
    seen = tshark(
        pcap, "ip.src", "ip.dst", "udp.srcport", "udp.dstport", "dns.qry.name", "dns.a", "dns.flags.rcode", "eth.src"
    )
    assert [(r["ip.src"], r["dns.qry.name"], r["dns.a"], r["dns.flags.rcode"]) for r in seen] == [
        (DEVICE, "plain.test", "", ""),
        ("192.168.7.1", "plain.test", PLAIN, "0"),
        (DEVICE, "secure.test", "", ""),
        ("192.168.7.1", "secure.test", SECURE, "0"),
        (DEVICE, "nowhere.test", "", ""),
        ("192.168.7.1", "nowhere.test", "", "3"),
    ]
    assert {r["udp.dstport"] for r in seen if r["ip.src"] == DEVICE} == {"53"}
    assert {r["eth.src"] for r in seen if r["ip.src"] == DEVICE} == {MAC}
    assert len({r["udp.srcport"] for r in seen if r["ip.src"] == DEVICE}) == 3, "a port of its own for each query"
    assert_clean(pcap)


@needs_tshark
async def test_a_conversation_is_captured_under_the_simulated_addresses(tmp_path: Path) -> None:
    pcap = tmp_path / "router.pcap"
    async with serving(echo) as port, Router(pcap, internet(http=port), "p1") as router:
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert_clean(pcap)
    assert flags(pcap) == [
        (DEVICE, "S"),
        (PLAIN, "AS"),
        (DEVICE, "A"),
        (DEVICE, "AP"),
        (PLAIN, "A"),
        (PLAIN, "AP"),
        (DEVICE, "A"),
        (DEVICE, "AF"),
        (PLAIN, "A"),
        (PLAIN, "AF"),
        (DEVICE, "A"),
    ]
    payloads = tshark(pcap, "ip.src", "tcp.dstport", "data.data", "tcp.payload", where="tcp.len > 0")
    assert [(r["ip.src"], r["tcp.payload"].replace(":", "")) for r in payloads] == [
        (DEVICE, b"hello".hex()),
        (PLAIN, b"hello".hex()),
    ], "SOCKS never shows"
    assert payloads[0]["tcp.dstport"] == "80"
    assert b"127.0.0.1" not in pcap.read_bytes() and socket.inet_aton("127.0.0.1") not in pcap.read_bytes()


async def test_ports_and_addresses_choose_the_server_behind(tmp_path: Path) -> None:
    def named(name: bytes) -> Serve:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name)

        return say

    async with (
        serving(named(b"https")) as https,
        serving(named(b"http")) as http,
        serving(named(b"h2")) as h2,
        Router(tmp_path / "router.pcap", internet(https, http, h2), "p1") as router,
    ):
        link = router.attach(MAC, DEVICE)
        for address, port, expected in (
            (SECURE, 443, b"https"),
            (SECURE, 80, b"http"),
            (MODERN, 443, b"h2"),
            (MODERN, 80, b"http"),
        ):
            reader, writer = await link.connect(address, port)
            assert await reader.read() == expected
            writer.close()


@needs_tshark
async def test_several_megabytes_both_ways_pass_quickly_and_whole(tmp_path: Path) -> None:
    pcap, size = tmp_path / "router.pcap", 6_000_001
    sent = os.urandom(size)
    async with serving(echo) as port, Router(pcap, internet(http=port), "p1") as router:
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        began = time.perf_counter()

        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        _, received = await asyncio.gather(send(), reader.read(-1))
        took = time.perf_counter() - began
        writer.close()
    assert received == sent
    assert took < 5, f"{2 * size / took / 1e6:.0f} MB/s"
    assert_clean(pcap)
    lengths = tshark(pcap, "ip.src", "tcp.len")
    assert sum(int(row["tcp.len"]) for row in lengths if row["ip.src"] == DEVICE) == size
    assert sum(int(row["tcp.len"]) for row in lengths if row["ip.src"] == PLAIN) == size
    assert max(int(row["tcp.len"]) for row in lengths) == 1460


async def test_small_writes_do_not_wait_for_acknowledgements(tmp_path: Path) -> None:
    async def answer_whole_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                writer.write(await reader.readexactly(8))

    serve = serving(answer_whole_requests)
    async with serve as port, Router(tmp_path / "router.pcap", internet(http=port), "p1") as router:
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        began = time.perf_counter()
        for _ in range(50):
            writer.write(b"head")
            writer.write(b"body")
            await reader.readexactly(8)
        assert time.perf_counter() - began < 0.5, "Nagle's algorithm would cost 40 ms each"
        writer.close()


async def test_a_slow_reader_holds_the_sender_back(tmp_path: Path) -> None:
    size, passed = 100_000_000, 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal passed
        while passed < size:
            writer.write(bytes(100_000))
            await writer.drain()
            passed += 100_000

    async with serving(flood) as port, Router(tmp_path / "router.pcap", internet(http=port), "p1") as router:
        _, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        before = -1
        while passed != before:  # until nothing moves any more
            before = passed
            await asyncio.sleep(0.2)
        assert 0 < passed < size / 2
        writer.transport.abort()


@needs_tshark
async def test_refusals_are_told_apart(tmp_path: Path) -> None:
    pcap = tmp_path / "router.pcap"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with Router(pcap, internet(http=closed.getsockname()[1]), "p1") as router:
            link = router.attach(MAC, DEVICE)
            with pytest.raises(ConnectionRefusedError):
                await link.connect(PLAIN, 80)
            with pytest.raises(ConnectionRefusedError):
                await link.connect(PLAIN, 8080)
            with pytest.raises(ConnectionError, match="does not answer"):
                await link.connect(SILENT, 80)
            with pytest.raises(ConnectionError):
                await link.connect("::1", 80)
            with pytest.raises(ConnectionError):
                await link.connect(PLAIN, 70_000)
    refused = [(DEVICE, "S"), (PLAIN, "AR")]
    assert flags(pcap) == [*refused, *refused, (DEVICE, "S")], "from an address without a host nothing comes back"
    assert_clean(pcap)


@needs_tshark
@pytest.mark.parametrize("who", ["server", "device"])
async def test_a_reset_is_passed_on_and_captured(tmp_path: Path, who: str) -> None:
    pcap = tmp_path / "router.pcap"
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def reset(writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        if who == "server":
            reset(writer)
        try:
            await reader.read()
            ended.set_result("end")
        except ConnectionResetError:
            ended.set_result("reset")

    async with serving(serve) as port, Router(pcap, internet(http=port), "p1") as router:
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        writer.write(b"ping")
        if who == "server":
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        else:
            await asyncio.sleep(0.1)
            reset(writer)
            assert await asyncio.wait_for(ended, 5) == "reset"
    sender = PLAIN if who == "server" else DEVICE
    assert flags(pcap)[-1] == (sender, "AR")
    assert_clean(pcap)


@needs_tshark
async def test_connections_open_at_exit_are_closed_in_order(tmp_path: Path) -> None:
    pcap = tmp_path / "router.pcap"
    async with serving(echo) as port:
        async with Router(pcap, internet(http=port), "p1") as router:
            link = router.attach(MAC, DEVICE)
            reader, writer = await link.connect(PLAIN, 80)
            writer.write(b"hello")
            await reader.readexactly(5)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        with pytest.raises(ConnectionError):
            await link.connect(PLAIN, 80)
    assert [flag for _, flag in flags(pcap)][-4:] == ["AF", "A", "AF", "A"]
    assert_clean(pcap)


async def test_strangers_on_the_machine_are_not_served(tmp_path: Path) -> None:
    async with serving(echo) as port, Router(tmp_path / "router.pcap", internet(http=port), "p1") as router:
        reader, writer = await asyncio.open_connection(*router._tcp_address)
        writer.write(b"\x05\x01\x00")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
    assert (tmp_path / "router.pcap").stat().st_size == 24, "the header alone"


async def test_the_capture_is_private_even_where_a_readable_file_was(tmp_path: Path) -> None:
    pcap = tmp_path / "router.pcap"
    pcap.touch(0o644)
    async with Router(pcap, internet(), "p1"):
        assert stat.S_IMODE(pcap.stat().st_mode) == 0o600


async def test_nothing_passes_unrecorded_and_a_full_disk_is_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def route(port: int) -> None:
        async with Router(tmp_path / "router.pcap", internet(http=port), "p1") as router:
            link = router.attach(MAC, DEVICE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (24, hard))
            try:
                with pytest.raises(ConnectionError):
                    await link.connect(PLAIN, 80)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    async with serving(echo) as port:
        with pytest.raises(OSError, match="File too large"):
            await route(port)


def test_an_unknown_profile_or_a_false_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Router(tmp_path / "router.pcap", internet(), "p2")
    with pytest.raises(ValueError):
        Router(tmp_path / "router.pcap", internet(), "p1").attach("02:00", DEVICE)


VICTIM = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from tests.capture.test_router import DEVICE, MAC, PLAIN, echo, internet, serving
from earwitness.capture.router import Router

async def main():
    async with serving(echo) as port, Router(Path(sys.argv[1]), internet(http=port), "p1") as router:
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        for _ in range(int(sys.argv[2])):
            writer.write(b"x" * 1000)
            await reader.readexactly(1000)
        print("ready", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@needs_tshark
def test_a_killed_router_leaves_everything_that_passed(tmp_path: Path) -> None:
    pcap, rounds = tmp_path / "router.pcap", 50
    command = [sys.executable, "-c", VICTIM, str(pcap), str(rounds), str(Path(__file__).parents[2])]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"ready\n"
        victim.send_signal(signal.SIGKILL)
    lengths = tshark(pcap, "tcp.len")
    assert sum(int(row["tcp.len"]) for row in lengths) == 2 * rounds * 1000
    assert_clean(pcap)
