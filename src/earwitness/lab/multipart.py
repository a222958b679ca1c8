"""Multipart bodies of the voice service: form-data in (RFC 7578), multipart/related out (RFC 2387). No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Any

from earwitness.model.errors import BadInput

_NAME = "multipart body"
_MOST_PARTS = 16


@dataclass(frozen=True)
class Field:
    """One field of a form: its content type without parameters, and its bytes."""

    content_type: str
    content: bytes


def parse_form(content_type: str, body: bytes) -> dict[str, Field]:
    """The fields of a multipart/form-data body by name; of several with one name the last.

    Raises:
        BadInput: the content type or the body is not that.
    """
    kind, boundary = _typed(content_type, "boundary")
    if kind != "multipart/form-data" or not boundary:
        raise BadInput(_NAME, "content-type", "multipart/form-data with a boundary")
    # The line break before a boundary belongs to it; the first one may do without.
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise BadInput(_NAME, f"byte {len(body)}", "a closing boundary")
    if len(pieces) > _MOST_PARTS + 2:
        raise BadInput(_NAME, "start", f"at most {_MOST_PARTS} parts")
    return dict(_field(piece) for piece in pieces[1:-1])


def _field(piece: bytes) -> tuple[str, Field]:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank:
        raise BadInput(_NAME, "part", "headers, an empty line and content")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n"):
        label, _, value = line.partition(":")
        headers[label.strip().lower()] = value.strip()
    disposition, name = _typed(headers.get("content-disposition", ""), "name")
    if disposition != "form-data" or not name:
        raise BadInput(_NAME, "part", "content-disposition: form-data with a name")
    kind, _ = _typed(headers.get("content-type", "text/plain"), "charset")
    return name, Field(kind, content)


def _typed(header: str, parameter: str) -> tuple[str, str | None]:
    """The value of a header in small letters, and one of its parameters."""
    message = Message()
    message["content-type"] = " ".join(header.split())
    found = message.get_param(parameter)
    return header.partition(";")[0].strip().lower(), found if isinstance(found, str) else None


def compose_related(boundary: str, documents: Sequence[Mapping[str, Any]], sounds: Mapping[str, bytes]) -> bytes:
    """A multipart/related body: JSON `documents`, then the WAV files of `sounds` by content id."""
    parts = [
        (b"Content-Type: application/json; charset=UTF-8", json.dumps(document).encode()) for document in documents
    ]
    parts += [
        (f"Content-Type: audio/wav\r\nContent-ID: <{content_id}>".encode(), sound)
        for content_id, sound in sounds.items()
    ]
    mark = boundary.encode()
    body = b"".join(b"--%b\r\n%b\r\n\r\n%b\r\n" % (mark, head, content) for head, content in parts)
    return body + b"--%b--\r\n" % mark
