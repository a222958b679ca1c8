"""What the voice service answers to an utterance: an ordered list of directives.

No I/O. The parser takes foreign bytes: it returns directives or raises `BadInput`, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from earwitness.model.errors import BadInput
from earwitness.speakers.multipart import parse_related

_WHERE = "directive"


@dataclass(frozen=True)
class Speak:
    """SpeechSynthesizer.Speak: the platform's voice. `caption` is its text; `audio` is None where none was attached."""

    token: str
    caption: str
    audio: bytes | None


@dataclass(frozen=True)
class Play:
    """AudioPlayer.Play: an audio stream to fetch from `url`."""

    token: str
    url: str


@dataclass(frozen=True)
class Unknown:
    """A directive that this device does not know, as namespace.name."""

    name: str


Directive = Speak | Play | Unknown


class _Struct(msgspec.Struct, rename="camel"):
    pass


class _Header(_Struct):
    namespace: str
    name: str


class _Directive(_Struct):
    header: _Header
    payload: msgspec.Raw = msgspec.Raw(b"{}")


class _Envelope(_Struct):
    directive: _Directive


class _Caption(_Struct):
    content: str


class _SpeakPayload(_Struct):
    url: str
    token: str
    caption: _Caption = msgspec.field(default_factory=lambda: _Caption(""))


class _Stream(_Struct):
    url: str
    token: str


class _AudioItem(_Struct):
    stream: _Stream


class _PlayPayload(_Struct):
    audio_item: _AudioItem


_Shape = TypeVar("_Shape")


def parse_answer(content_type: str, body: bytes) -> list[Directive]:
    """The directives of a multipart/related answer, in order, with their attachments.

    Raises:
        BadInput: the body is not multipart, a JSON part is not JSON, or a known directive lacks a field.
    """
    parts = parse_related(content_type, body)
    attachments = {
        part.headers["content-id"].strip("<>"): part.content for part in parts if "content-id" in part.headers
    }
    return [
        _directive(part.content, attachments)
        for part in parts
        if part.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    ]


def _directive(content: bytes, attachments: dict[str, bytes]) -> Directive:
    directive = _decoded(content, _Envelope).directive
    name = f"{directive.header.namespace}.{directive.header.name}"
    if name == "SpeechSynthesizer.Speak":
        speak = _decoded(directive.payload, _SpeakPayload)
        return Speak(speak.token, speak.caption.content, attachments.get(speak.url.removeprefix("cid:")))
    if name == "AudioPlayer.Play":
        stream = _decoded(directive.payload, _PlayPayload).audio_item.stream
        return Play(stream.token, stream.url)
    return Unknown(name)


def _decoded(content: bytes | msgspec.Raw, shape: type[_Shape]) -> _Shape:
    try:
        return msgspec.json.decode(content, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(_WHERE, shape.__name__.lstrip("_"), f"what AVS documents ({error})") from error
