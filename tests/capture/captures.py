"""Writes captures: every variant of pcap and pcapng that the reader claims to read."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from earwitness.capture import Capture, read_capture

START = 1_700_000_000_000_000  # µs
Packet = tuple[int, bytes, int]  # µs since 1970, captured bytes, original length


def timed(frames: Iterable[bytes], start: int = START, step: int = 1000, snap: int = 1 << 16) -> list[Packet]:
    """Frames `step` µs apart, cut at `snap` bytes."""
    return [(start + number * step, frame[:snap], len(frame)) for number, frame in enumerate(frames)]


def pcap(
    packets: Iterable[Packet], *, order: str = "<", nano: bool = False, link: int = 1, snap: int = 262_144
) -> bytes:
    unit = 1000 if nano else 1
    out = [struct.pack(f"{order}IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snap, link)]
    for at, data, length in packets:
        seconds, part = divmod(at, 1_000_000)
        out.append(struct.pack(f"{order}IIII", seconds, part * unit, len(data), length) + data)
    return b"".join(out)


@dataclass(frozen=True)
class Interface:
    """A pcapng interface: link type, if_tsresol as written (None: absent, µs), if_tsoffset, snap length."""

    link: int = 1
    resolution: int | None = None
    offset: int | None = None
    snap: int = 0

    def units(self, at: int) -> int:
        """`at` (µs since 1970) in the interface's unit."""
        at -= (self.offset or 0) * 1_000_000
        resolution = 6 if self.resolution is None else self.resolution
        if resolution & 0x80:
            return (at << (resolution & 0x7F)) // 1_000_000 + (1 if at % 1_000_000 else 0)
        return at * 10**resolution // 10**6


def block(order: str, kind: int, body: bytes) -> bytes:
    body += b"\0" * (-len(body) % 4)
    return struct.pack(f"{order}II", kind, len(body) + 12) + body + struct.pack(f"{order}I", len(body) + 12)


def section(order: str, length: int = -1) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, length))


def interface_block(order: str, interface: Interface) -> bytes:
    options = b""
    if interface.resolution is not None:
        options += struct.pack(f"{order}HHB3x", 9, 1, interface.resolution)
    if interface.offset is not None:
        options += struct.pack(f"{order}HHq", 14, 8, interface.offset)
    if options:
        options = struct.pack(f"{order}HH4s", 2, 3, b"en0") + options + struct.pack(f"{order}HH", 0, 0)
    return block(order, 1, struct.pack(f"{order}HHI", interface.link, 0, interface.snap) + options)


def packet_block(order: str, kind: str, number: int, interface: Interface, packet: Packet) -> bytes:
    at, data, length = packet
    units = interface.units(at)
    padded = data + b"\0" * (-len(data) % 4)
    if kind == "simple":
        return block(order, 3, struct.pack(f"{order}I", length) + padded)
    times = struct.pack(f"{order}IIII", units >> 32, units & 0xFFFFFFFF, len(data), length)
    if kind == "obsolete":
        return block(order, 2, struct.pack(f"{order}HH", number, 0xFFFF) + times + padded)
    flags = struct.pack(f"{order}HHI", 2, 4, 1) + struct.pack(f"{order}HH", 0, 0)
    return block(order, 6, struct.pack(f"{order}I", number) + times + padded + flags)


def pcapng(
    packets: Iterable[Packet],
    *,
    order: str = "<",
    kind: str = "enhanced",
    interfaces: Sequence[Interface] = (Interface(),),
    among: Sequence[bytes] = (),
) -> bytes:
    """One section; packets go to the interfaces in turn; `among` are further blocks before the packets."""
    out = [section(order), *(interface_block(order, interface) for interface in interfaces), *among]
    for index, packet in enumerate(packets):
        number = index % len(interfaces)
        out.append(packet_block(order, kind, number, interfaces[number], packet))
    return b"".join(out)


def read(directory: Path, data: bytes, name: str = "file.bin") -> Capture:
    """`data` read as a capture."""
    path = directory / name
    path.write_bytes(data)
    return read_capture(path)


def read_frames(directory: Path, frames: Iterable[bytes], *, link: int = 1) -> Capture:
    return read(directory, pcap(timed(frames), link=link))


def reasons(capture: Capture) -> dict[object, object]:
    """Details of gaps by reason."""
    return {gap["reason"]: gap["detail"] for gap in capture.gaps}
