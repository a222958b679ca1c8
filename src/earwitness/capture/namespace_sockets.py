"""The program inside the namespaces: builds a small network, captures at its router, hands out sockets made in it.

Started by `namespaces`, which gives it a Unix socket (its number is the argument) and the capture file (its standard
output); standard library alone, so that it is there in 30 ms. A socket belongs to the network namespace in which it was
made, whoever uses it: so this program makes sockets and passes them on, and no byte of the traffic goes through it.

One message is one JSON object, answered by one, with descriptors where so said; a failure is {"error": text}.

- {"do": "start", "addresses": […]}: in the router's namespace; descriptors of dumpcap's messages, of a datagram socket
  on port 53 and of listeners on 443 and 80
- {"do": "plug", "mac", "ip", "router_ip"}: a device; gives {"device": number}
- {"do": "socket", "device": number, "kind": "tcp" or "udp"}: the descriptor of a socket in its namespace
- {"do": "mark"}: sends the frame that ends the capture
- {"do": "stop"}: ends dumpcap in order

Everything lives in namespaces of users, processes and networks of its own, without entries anywhere on the host. The
first process in them ends when its Unix socket does or when its parent dies, and the kernel ends all others with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

LARGEST_MESSAGE = 200_000
CAPTURE_END = b"end of the capture"  # payload of the marking frame
ROUTER_MAC = "02:00:00:00:00:01"

_LINKED = "br0"  # the router's side of all devices' links
_LOCAL_EXPERIMENT = 0x88B5  # Ethernet type set aside by IEEE 802 for private use
_SHORTEST_FRAME = 60
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
_PR_SET_PDEATHSIG = 1
_SIOCETHTOOL = 0x8946
_OFFLOADS = (0x17, 0x1F, 0x24)  # ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO
_BUFFER_MIB = "8"
_BACKLOG = 128

_libc = ctypes.CDLL(None, use_errno=True)
Answer = tuple[dict[str, object], list[int]]


class Network:
    """The router's namespace, in which this process stays, and those of the devices."""

    def __init__(self, capture: int) -> None:
        self._capture = capture
        self._home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self._devices: list[int] = []
        self._dumpcap: subprocess.Popen[bytes] | None = None

    def answer(self, request: dict[str, object]) -> Answer:
        """Do what one message asks for.

        Raises:
            OSError: it is not possible; the text says what was refused.
        """
        actions: dict[object, Callable[[dict[str, object]], Answer]] = {
            "start": self._start,
            "plug": self._plug,
            "socket": self._socket,
            "mark": self._mark,
            "stop": self._stop,
        }
        return actions[request["do"]](request)

    def _start(self, request: dict[str, object]) -> Answer:
        addresses = request["addresses"]
        assert isinstance(addresses, list)
        _ip(
            "a bridge or veth pair",
            "link set lo up",
            f"link add {_LINKED} address {ROUTER_MAC} type bridge mcast_snooping 0",
            f"link set {_LINKED} addrgenmode none up",
            # A pair that ends here: the bridge carries from the start, and no device can be refused later.
            "link add idle type veth peer name other",
            "link set other addrgenmode none up",
            f"link set idle addrgenmode none master {_LINKED} up",
            *(f"route add local {address}/32 dev lo" for address in addresses),
        )
        _no_offloads(_LINKED)
        try:
            # To its standard output dumpcap writes each batch of packets at once, so that a kill loses none.
            self._dumpcap = subprocess.Popen(
                ["dumpcap", "-q", "-B", _BUFFER_MIB, "-i", _LINKED, "-w", "-"],
                stdin=subprocess.DEVNULL,
                stdout=self._capture,
                stderr=subprocess.PIPE,
                preexec_fn=_die_with_parent,
            )
        except OSError as error:
            raise OSError(f"dumpcap cannot be run: {error.strerror}") from error
        said = self._dumpcap.stderr
        assert said is not None
        lines = []
        while not (line := said.readline()).startswith(b"File:"):  # it captures from then on
            lines.append(line.decode(errors="replace").strip())
            if not line:
                raise OSError(f"dumpcap does not capture: {' '.join(lines).strip()}")
        names = _bound(socket.SOCK_DGRAM, 53)
        secure, plain = _bound(socket.SOCK_STREAM, 443), _bound(socket.SOCK_STREAM, 80)
        return {}, [os.dup(said.fileno()), names.detach(), secure.detach(), plain.detach()]

    def _plug(self, request: dict[str, object]) -> Answer:
        number = len(self._devices)
        _call("a network namespace", _libc.unshare, _CLONE_NEWNET)
        try:
            device = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            self._enter(self._home)
        end = f"port{number}"
        _ip(
            "a veth pair",
            f"link add {end} type veth peer name eth0 address {request['mac']} netns /proc/self/fd/{device}",
            f"link set {end} addrgenmode none master {_LINKED} up",
            f"addr replace {request['router_ip']}/24 dev {_LINKED}",  # another device may have it as well
            inherited=device,
        )
        _no_offloads(end)
        self._enter(device)
        try:
            _ip(
                "a device's address",
                "link set lo up",
                "link set eth0 addrgenmode none up",
                f"addr add {request['ip']}/24 dev eth0",
                f"route add default via {request['router_ip']}",
            )
            _no_offloads("eth0")
        finally:
            self._enter(self._home)
        self._devices.append(device)
        return {"device": number}, []

    def _socket(self, request: dict[str, object]) -> Answer:
        device = request["device"]
        assert isinstance(device, int)
        self._enter(self._devices[device])
        try:
            kind = socket.SOCK_STREAM if request["kind"] == "tcp" else socket.SOCK_DGRAM
            return {}, [socket.socket(socket.AF_INET, kind).detach()]
        finally:
            self._enter(self._home)

    def _mark(self, _: dict[str, object]) -> Answer:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((_LINKED, 0))
            own = bytes.fromhex(ROUTER_MAC.replace(":", ""))
            frame = own + own + struct.pack(">H", _LOCAL_EXPERIMENT) + CAPTURE_END
            raw.send(frame.ljust(_SHORTEST_FRAME, b"\0"))
        return {}, []

    def _stop(self, _: dict[str, object]) -> Answer:
        if self._dumpcap is None:
            return {}, []
        self._dumpcap.send_signal(signal.SIGINT)
        return {"status": self._dumpcap.wait()}, []

    def _enter(self, namespace: int) -> None:
        _call("a network namespace", _libc.setns, namespace, _CLONE_NEWNET)


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    own = socket.socket(socket.AF_INET, kind)
    own.bind(("0.0.0.0", port))  # noqa: S104 — the router's namespace has no other network
    if kind == socket.SOCK_STREAM:
        own.listen(_BACKLOG)
    return own


def _ip(what: str, *lines: str, inherited: int | None = None) -> None:
    """Run lines of `ip`; `what` names for a person what they make."""
    try:
        ran = subprocess.run(
            ["ip", "-batch", "-"],
            input="\n".join(lines).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=() if inherited is None else (inherited,),
            check=False,
        )
    except OSError as error:
        raise OSError(f"ip cannot be run: {error.strerror}") from error
    if ran.returncode:
        why = ran.stderr.decode(errors="replace").splitlines() or [""]
        raise OSError(f"{what} is refused: {why[0]}")


def _no_offloads(interface: str) -> None:
    """Let the kernel segment and sum in software, so that packets are captured as a wire would carry them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        for command in _OFFLOADS:
            off = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP", interface.encode(), ctypes.addressof(off))
            fcntl.ioctl(own, _SIOCETHTOOL, request.ljust(40, b"\0"))


def _call(what: str, function: Callable[..., int], *arguments: int) -> None:
    if function(*arguments) != 0:
        raise OSError(f"{what} is refused: {os.strerror(ctypes.get_errno())}")


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _separate() -> None:
    """Leave the host's namespaces of users, processes and networks."""
    user, group = os.geteuid(), os.getegid()
    try:
        _call("a user namespace", _libc.unshare, _CLONE_NEWUSER | _CLONE_NEWPID | _CLONE_NEWNET)
    except OSError:
        if user:
            raise
        # Where user namespaces are switched off, root does without.
        _call("a network namespace", _libc.unshare, _CLONE_NEWPID | _CLONE_NEWNET)
        return
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        try:
            with open(f"/proc/self/{file}", "w") as mapping:  # noqa: PTH123 — pathlib costs a tenth of the start
                mapping.write(text)
        except OSError as error:  # for root without capabilities, for one
            raise OSError(f"a user namespace is refused: {error.strerror}") from error


def _serve(control: socket.socket, network: Network) -> None:
    while message := control.recv(LARGEST_MESSAGE):
        try:
            answer, descriptors = network.answer(json.loads(message))
        except OSError as error:
            answer, descriptors = {"error": str(error)}, []
        socket.send_fds(control, [json.dumps(answer).encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def main() -> None:
    """Answer messages until the Unix socket ends."""
    control = socket.socket(fileno=int(sys.argv[1]))
    refused = ""
    try:
        _separate()
    except OSError as error:
        refused = str(error)
    _die_with_parent()  # after the change of user, which would clear it
    if refused:
        control.recv(LARGEST_MESSAGE)
        control.send(json.dumps({"error": refused}).encode())
        return
    first = os.fork()
    if first:
        control.close()
        os.waitpid(first, 0)
        return
    _die_with_parent()
    with contextlib.suppress(OSError):  # the other side is gone
        _serve(control, Network(sys.stdout.fileno()))
    os._exit(0)  # the first process of its namespace: the kernel ends the others


if __name__ == "__main__":
    main()
