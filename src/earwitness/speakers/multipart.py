"""Multipart bodies of the voice service: form-data out (RFC 7578), multipart/related in (RFC 2387, RFC 2046).

No I/O. The parser takes foreign bytes: it returns parts or raises `BadInput`, nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from earwitness.model.errors import BadInput

_MOST_PARTS = 256
_WHERE = "multipart body"
_PARAMETER = re.compile(r';\s*([!#$%&\'*+.^_`|~0-9A-Za-z-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))\s*')
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


@dataclass(frozen=True)
class Part:
    """One part: headers by lower-case name, and its content."""

    headers: Mapping[str, str]
    content: bytes


def form_data(fields: Sequence[tuple[str, str, bytes]]) -> tuple[str, bytes]:
    """A multipart/form-data body of (name, content type, content) fields, and its Content-Type header."""
    boundary = hashlib.sha256(b"\0".join(content for _, _, content in fields)).hexdigest()[:32]
    while any(boundary.encode() in content for _, _, content in fields):
        boundary = hashlib.sha256(boundary.encode()).hexdigest()[:32]
    pieces: list[bytes] = []
    for name, content_type, content in fields:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: {content_type}\r\n\r\n'
        pieces += (head.encode(), content, b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"multipart/form-data; boundary={boundary}", b"".join(pieces)


def parse_related(content_type: str, body: bytes) -> list[Part]:
    """The parts of a multipart/related body, in order.

    `content_type` is the header as received. Preamble and epilogue are dropped.

    Raises:
        BadInput: another type, no boundary, a part without an end, a broken header.
    """
    # A line of the boundary alone, or with the two dashes that close the body; it owns the line break before it.
    delimiter = re.compile(rb"\r\n--%b(?:(--)|[ \t]*(?=\r\n))" % re.escape(_boundary(content_type)))
    body = b"\r\n" + body  # the first delimiter may lack its line break
    parts: list[Part] = []
    start: int | None = None
    for found in delimiter.finditer(body):
        if start is not None:
            parts.append(_part(body[start : found.start()], start - 2))
        if found[1]:
            return parts
        if len(parts) == _MOST_PARTS:
            raise BadInput(_WHERE, f"byte {found.start() - 2}", f"at most {_MOST_PARTS} parts")
        start = found.end()
    raise BadInput(_WHERE, f"byte {len(body) - 2}", "the closing boundary that the Content-Type names")


def _part(piece: bytes, position: int) -> Part:
    """A part from what lies between two delimiters; `position` is its first byte in the body."""
    # A part without headers starts with its blank line, whose first break ends the delimiter's line.
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank:
        raise BadInput(_WHERE, f"byte {position}", "a blank line between headers and content")
    return Part(_headers(head, position), content)


def _boundary(content_type: str) -> bytes:
    """The boundary parameter of a multipart/related Content-Type."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind != "multipart/related":
        raise BadInput(_WHERE, "Content-Type", "multipart/related")
    for name, quoted, bare in _PARAMETER.findall(content_type):
        if name.lower() == "boundary":
            boundary: str = re.sub(r"\\(.)", r"\1", quoted) or bare
            if _BOUNDARY.fullmatch(boundary):
                return boundary.encode("ascii")
    raise BadInput(_WHERE, "Content-Type", "a boundary of 1 to 70 characters")


def _headers(head: bytes, position: int) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in filter(None, head.split(b"\r\n")):
        name, colon, value = line.partition(b":")
        if not colon or not name.strip():
            raise BadInput(_WHERE, f"byte {position}", "header lines of the form name: value")
        headers[name.decode("latin-1").strip().lower()] = value.decode("latin-1").strip()
    return headers
