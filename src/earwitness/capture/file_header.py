"""What kind of capture a file is, by its first bytes and never by its name.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earwitness.model.errors import BadInput

PCAP_HEADER = 24
SECTION_HEADER = b"\x0a\x0d\x0d\x0a"
SECTION_HEADER_SIZE = 28  # without options
BYTE_ORDER_MAGIC = 0x1A2B3C4D
LARGEST_BLOCK = 1 << 20

_PCAP = {
    b"\xa1\xb2\xc3\xd4": (True, False),
    b"\xd4\xc3\xb2\xa1": (False, False),
    b"\xa1\xb2\x3c\x4d": (True, True),
    b"\x4d\x3c\xb2\xa1": (False, True),
}
_OTHERS = {
    b"\x1f\x8b": "gzip data: decompress it first",
    b"\x28\xb5\x2f\xfd": "zstandard data: decompress it first",
    b"\xfd7zXZ": "xz data: decompress it first",
    b"BZh": "bzip2 data: decompress it first",
    b"PK\x03\x04": "a zip archive",
    b"\x89PNG": "a PNG picture",
    b"snoop\0": "a snoop capture: convert it with editcap -F pcap",
    b"SQLite format 3\0": "an SQLite database",
}


@dataclass(frozen=True)
class FileHeader:
    """A capture's kind; byte order, time unit and link type where they hold for the whole file (pcap)."""

    kind: Literal["pcap", "pcapng"]
    big_endian: bool = False
    nanoseconds: bool = False
    link_type: int = 0


def read_file_header(head: bytes, name: str) -> FileHeader:
    """Recognise a capture by the first bytes of the file called `name`.

    `head` is the whole file or at least its first mebibyte.

    Raises:
        BadInput: the file is empty, something else, or ends inside its header.
    """
    if not head:
        raise BadInput(name, "byte 0", "a pcap or pcapng capture, but the file is empty")
    if head[:4] in _PCAP:
        big, nano = _PCAP[head[:4]]
        if len(head) < PCAP_HEADER:
            raise BadInput(name, f"byte {len(head)}", f"the rest of a pcap file header of {PCAP_HEADER} bytes")
        order: Literal["big", "little"] = "big" if big else "little"
        major = int.from_bytes(head[4:6], order)
        if major != 2:
            raise BadInput(name, "byte 4", f"pcap version 2, not {major}")
        # The upper half of the word holds the length of frame check sequences and other flags.
        link = int.from_bytes(head[20:24], order) & 0xFFFF
        return FileHeader("pcap", big, nano, link)
    if head[:4] == SECTION_HEADER:
        _check_section(head, name)
        return FileHeader("pcapng")
    other = next((f"; this is {what}" for magic, what in _OTHERS.items() if head.startswith(magic)), "")
    raise BadInput(name, "byte 0", "the magic number of a pcap or pcapng capture" + other)


def _check_section(head: bytes, name: str) -> None:
    if len(head) < SECTION_HEADER_SIZE:
        raise BadInput(
            name, f"byte {len(head)}", f"the rest of a pcapng section header of at least {SECTION_HEADER_SIZE} bytes"
        )
    order = byte_order(head[8:12])
    if order is None:
        raise BadInput(name, "byte 8", "the byte-order magic 1A2B3C4D of a pcapng section header")
    size = int.from_bytes(head[4:8], order)
    if not SECTION_HEADER_SIZE <= size <= LARGEST_BLOCK:
        raise BadInput(name, "byte 4", f"the length of a pcapng section header, not {size}")
    padded = -(-size // 4) * 4
    if len(head) < padded:
        raise BadInput(name, f"byte {len(head)}", f"the rest of a pcapng section header of {padded} bytes")
    if int.from_bytes(head[padded - 4 : padded], order) != size:
        raise BadInput(name, f"byte {padded - 4}", f"the section header's length {size} again")
    major = int.from_bytes(head[12:14], order)
    if major != 1:
        raise BadInput(name, "byte 12", f"pcapng version 1, not {major}")


def byte_order(magic: bytes) -> Literal["big", "little"] | None:
    """The byte order of a pcapng section, told by its byte-order magic."""
    if int.from_bytes(magic, "big") == BYTE_ORDER_MAGIC:
        return "big"
    if int.from_bytes(magic, "little") == BYTE_ORDER_MAGIC:
        return "little"
    return None
