"""The router in network namespaces: real stacks, a real dumpcap, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from earwitness.capture import NamespaceRouter, open_router, read_capture
from tests.capture.test_router import (
    DEVICE,
    MAC,
    MODERN,
    PLAIN,
    SECURE,
    Serve,
    echo,
    flags,
    internet,
    needs_tshark,
    serving,
    tshark,
)

ROOT = Path(__file__).parents[2]
NOBODY = 65_534


def refusal() -> str:
    async def method() -> str:
        with tempfile.TemporaryDirectory() as folder:
            async with open_router(Path(folder) / "c", internet(), "p1") as (_, method):
                return method

    return asyncio.run(method()).removeprefix("namespaces")


REFUSED = refusal()
needs_namespaces = pytest.mark.skipif(bool(REFUSED), reason=REFUSED or "namespaces are there")


def assert_unchanged_on_the_way(pcap: Path) -> None:
    """Checksums are right and no packet is larger than a wire's: nothing was left to hardware."""
    sizes = tshark(pcap, "frame.len", "tcp.checksum.status", "udp.checksum.status", where="tcp || udp")
    assert sizes
    for row in sizes:
        assert int(row["frame.len"]) <= 1514
        assert row["tcp.checksum.status"] + row["udp.checksum.status"] == "1"


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    try:
        children = [int(c) for t in Path(f"/proc/{pid}/task").iterdir() for c in (t / "children").read_text().split()]
    except OSError:  # it has just ended
        return []
    return children + [below for child in children for below in descendants(child)]


def dumpcap_among(pids: set[int]) -> int:
    (found,) = (pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "dumpcap\n")
    return found


def alive(pid: int) -> bool:
    try:  # what only waits to be reaped by the machine's first process has ended
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def network_of(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def networks() -> set[str]:
    """Network namespaces in which a process is."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found.add(network_of(int(process.name)))
        except OSError:
            continue
    return found


@needs_namespaces
@needs_tshark
async def test_a_device_is_its_own_machine_on_the_capture(tmp_path: Path) -> None:
    pcap = tmp_path / "router.pcap"
    pcap.touch(0o644)
    before = time.time()
    async with serving(echo) as port, NamespaceRouter(pcap, internet(http=port), "p1") as router:
        link = router.attach(MAC, DEVICE)
        assert await link.resolve("plain.test") == [PLAIN]
        assert await link.resolve("SECURE.TEST.") == [SECURE], "names have no case"
        assert await link.resolve("nowhere.test") == []
        assert await link.resolve("a..test") == [], "not a name at all"
        reader, writer = await link.connect(PLAIN, 80)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
    assert router.dropped == 0
    assert stat.S_IMODE(pcap.stat().st_mode) == 0o600
    assert_unchanged_on_the_way(pcap)
    asked = tshark(pcap, "ip.src", "ip.dst", "eth.src", "dns.qry.name", "dns.a", "udp.dstport", where="dns")
    assert [(r["ip.src"], r["dns.qry.name"], r["dns.a"]) for r in asked] == [
        (DEVICE, "plain.test", ""),
        ("192.168.7.1", "plain.test", PLAIN),
        (DEVICE, "secure.test", ""),
        ("192.168.7.1", "secure.test", SECURE),
        (DEVICE, "nowhere.test", ""),
        ("192.168.7.1", "nowhere.test", ""),
    ]
    assert asked[0]["eth.src"] == MAC and asked[0]["udp.dstport"] == "53"
    stream = flags(pcap)
    assert stream[:3] == [(DEVICE, "S"), (PLAIN, "AS"), (DEVICE, "A")]
    assert [sender for sender, flag in stream if "F" in flag] == [DEVICE, PLAIN]
    times = [float(row["frame.time_epoch"]) for row in tshark(pcap, "frame.time_epoch")]
    assert before <= times[0] <= times[-1] <= time.time()
    capture = read_capture(pcap)
    assert [(device["mac"], device["ip"]) for device in capture.devices] == [(MAC, DEVICE)]
    assert capture.gaps == []


@needs_namespaces
async def test_ports_and_addresses_choose_the_server_behind(tmp_path: Path) -> None:
    def named(name: bytes) -> Serve:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name)

        return say

    async with (
        serving(named(b"https")) as https,
        serving(named(b"http")) as http,
        serving(named(b"h2")) as h2,
        NamespaceRouter(tmp_path / "router.pcap", internet(https, http, h2), "p1") as router,
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
        with pytest.raises(ConnectionRefusedError):
            await link.connect(PLAIN, 8080)
        for address, port in (("::1", 80), (PLAIN, 70_000)):
            with pytest.raises(ConnectionError):
                await link.connect(address, port)


@needs_namespaces
@needs_tshark
async def test_megabytes_pass_whole_and_none_is_missing_on_the_capture(tmp_path: Path) -> None:
    pcap, size = tmp_path / "router.pcap", 3_000_001
    sent = os.urandom(size)
    async with serving(echo) as port, NamespaceRouter(pcap, internet(http=port), "p1") as router:
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)

        async def send() -> None:
            writer.write(sent)
            await writer.drain()
            writer.write_eof()

        _, received = await asyncio.gather(send(), reader.read(-1))
        writer.close()
    assert received == sent
    assert router.dropped == 0
    assert_unchanged_on_the_way(pcap)
    lengths = tshark(pcap, "ip.src", "tcp.len", where="tcp && !tcp.analysis.retransmission")
    for sender in (DEVICE, PLAIN):
        assert sum(int(row["tcp.len"]) for row in lengths if row["ip.src"] == sender) == size


@needs_namespaces
@needs_tshark
async def test_a_reset_of_a_server_is_passed_on(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    pcap = tmp_path / "router.pcap"
    async with serving(serve) as port, NamespaceRouter(pcap, internet(http=port), "p1") as router:
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        writer.write(b"ping")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert flags(pcap)[-1] in ((PLAIN, "AR"), (PLAIN, "R"))


@needs_namespaces
async def test_devices_side_by_side_are_quick_and_do_not_meet(tmp_path: Path) -> None:
    async def one(number: int, port: int) -> float:
        began = time.perf_counter()
        pcap, second = tmp_path / f"{number}.pcap", f"192.168.{7 + number % 2}.{number + 20}"
        async with NamespaceRouter(pcap, internet(http=port), "p1") as router:
            link = router.attach(MAC, DEVICE)  # all have the same address: each network is its own
            other = router.attach("02:00:00:00:07:02", second)
            assert await link.resolve("plain.test") == [PLAIN]
            took = time.perf_counter() - began
            for each in (link, other):
                reader, writer = await each.connect(PLAIN, 80)
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"
                writer.close()
        clients = {flow["client_ip"] for flow in read_capture(pcap).flows.to_pylist()}
        assert clients == {DEVICE, second}
        return took

    async with serving(echo) as port:
        took = await asyncio.gather(*(one(number, port) for number in range(5)))
    assert max(took) < 3, "0.3 s on an idle machine with two cores"


@needs_namespaces
async def test_connections_open_at_exit_end_and_no_new_ones_begin(tmp_path: Path) -> None:
    here, own = networks(), os.getpid()
    async with serving(echo) as port:
        async with NamespaceRouter(tmp_path / "router.pcap", internet(http=port), "p1") as router:
            link = router.attach(MAC, DEVICE)
            reader, writer = await link.connect(PLAIN, 80)
            inside = {network_of(pid) for pid in descendants(own)} - here
            assert len(inside) == 1
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        with pytest.raises(ConnectionError):
            await link.connect(PLAIN, 80)
        with pytest.raises(ConnectionError):
            await link.resolve("plain.test")
    assert not inside & networks()


@needs_namespaces
async def test_nothing_passes_unrecorded(tmp_path: Path) -> None:
    before = set(descendants(os.getpid()))

    async def route(port: int) -> None:
        async with NamespaceRouter(tmp_path / "router.pcap", internet(http=port), "p1") as router:
            link = router.attach(MAC, DEVICE)
            reader, writer = await link.connect(PLAIN, 80)
            inside = set(descendants(os.getpid())) - before
            os.kill(dumpcap_among(inside), signal.SIGKILL)
            assert await asyncio.wait_for(reader.read(), 5) == b"", "the open connection ends"
            writer.close()
            with pytest.raises(ConnectionError):
                await link.connect(PLAIN, 80)

    async with serving(echo) as port:
        with pytest.raises(OSError, match="the capture is incomplete: dumpcap ended"):
            await route(port)


@needs_namespaces
async def test_packets_that_dumpcap_cannot_keep_up_with_are_counted(tmp_path: Path) -> None:
    before, size = set(descendants(os.getpid())), 25_000_000

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(size // 100_000):
            writer.write(bytes(100_000))
            await writer.drain()

    async with serving(flood) as port, NamespaceRouter(tmp_path / "router.pcap", internet(http=port), "p1") as router:
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        dumpcap = dumpcap_among(set(descendants(os.getpid())) - before)
        os.kill(dumpcap, signal.SIGSTOP)
        assert len(await reader.read(-1)) == size
        os.kill(dumpcap, signal.SIGCONT)
        writer.close()
    assert router.dropped > 1000


@needs_namespaces
async def test_a_full_disk_is_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    async def route(port: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
        try:
            router = await NamespaceRouter(tmp_path / "router.pcap", internet(http=port), "p1").__aenter__()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        writer.write(bytes(50_000))
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        await router.__aexit__(None, None, None)

    async with serving(echo) as port:
        with pytest.raises(OSError, match="the capture is incomplete"):
            await route(port)


async def test_without_dumpcap_the_userspace_router_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, reason in (("ip", "ip"), ("nothing", "dumpcap")):
        async with (
            serving(echo) as port,
            open_router(tmp_path / "router.pcap", internet(http=port), "p1") as (router, method),
        ):
            if not REFUSED:
                assert method == f"userspace: {reason} cannot be run: No such file or directory"
            reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()
        if name == "ip":
            (tmp_path / "ip").symlink_to(shutil.which("ip", path="/usr/sbin:/usr/bin:/sbin:/bin") or "/sbin/ip")
    assert len(read_capture(tmp_path / "router.pcap").flows) == 1


PROGRAM = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.capture.test_router import DEVICE, MAC, PLAIN, echo, internet, serving
from earwitness.capture.choice import open_router

if len(sys.argv) > 4:  # become somebody without rights, who may not reach this interpreter
    os.setgroups([])
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[4]))
    sys.executable = sys.argv[5]

async def main():
    async with (
        serving(echo) as port,
        open_router(Path(sys.argv[1]), internet(http=port), "p1") as (router, method),
    ):
        reader, writer = await router.attach(MAC, DEVICE).connect(PLAIN, 80)
        for _ in range(50):
            writer.write(b"x" * 1000)
            await reader.readexactly(1000)
        print(method, flush=True)
        await asyncio.sleep(float(sys.argv[3]))
        writer.close()

asyncio.run(main())
"""


def command(pcap: Path, seconds: float) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(pcap), str(ROOT), str(seconds)]


@needs_namespaces
@needs_tshark
def test_a_killed_router_leaves_its_capture_and_nothing_else(tmp_path: Path) -> None:
    pcap = tmp_path / "router.pcap"
    interfaces = sorted(os.listdir("/sys/class/net"))  # noqa: PTH208
    with subprocess.Popen(command(pcap, 60), stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"namespaces\n"
        below = descendants(victim.pid)
        inside = {network_of(pid) for pid in below} - {network_of(os.getpid())}
        assert len(below) == 3 and len(inside) == 1, "two of Python, dumpcap"
        assert sorted(os.listdir("/sys/class/net")) == interfaces  # noqa: PTH208
        time.sleep(0.5)  # dumpcap is handed a block of packets four times a second
        victim.send_signal(signal.SIGKILL)
    for _ in range(50):
        if not any(map(alive, below)):
            break
        time.sleep(0.1)
    assert not [pid for pid in below if alive(pid)]
    assert not inside & networks()
    listed = subprocess.run(["lsns", "-t", "net", "-n", "-o", "NS"], capture_output=True, text=True, check=True)
    assert not {f"net:[{number}]" for number in listed.stdout.split()} & inside
    assert sorted(os.listdir("/sys/class/net")) == interfaces  # noqa: PTH208
    lengths = tshark(pcap, "tcp.len", where="tcp")
    assert sum(int(row["tcp.len"]) for row in lengths) == 2 * 50 * 1000


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder of an unprivileged user."""
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        yield Path(folder)


@needs_namespaces
@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests have shown it: this user has no privileges")
def test_no_privileges_are_needed(nobodys: Path) -> None:
    python = next((p for p in (sys.executable, "/usr/bin/python3") if executable_by_nobody(p)), None)
    if python is None or not executable_by_nobody(str(ROOT / "src")):
        pytest.skip("neither an interpreter nor the project can be reached by other users")
    capture = nobodys / "c"
    ran = subprocess.run([*command(capture, 0), str(NOBODY), python], capture_output=True, text=True, check=False)
    assert ran.stdout == "namespaces\n", ran.stderr
    assert (capture.stat().st_uid, stat.S_IMODE(capture.stat().st_mode)) == (NOBODY, 0o600)
    assert len(read_capture(capture).flows) == 1


def executable_by_nobody(path: str) -> bool:
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run([*become, "test", "-x", path], check=False).returncode == 0


@needs_namespaces
def test_where_namespaces_are_refused_the_reason_is_one_line(tmp_path: Path) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    ran = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", forbid, "sh", *command(tmp_path / "c", 0)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout == "userspace: a network namespace is refused: No space left on device\n", ran.stderr
    assert len(read_capture(tmp_path / "c").flows) == 1
