"""Which kinds of personal data a speaker's message really held: the truth of `truth_data`.

The kinds are those that the published audit saw in the traffic of a developer device. Only what stands in a message is
noted, with the path of its field and never its value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DataField = tuple[str, str]
"""(data type, path of the field)."""

_OF_FIELD = {
    "deviceSerialNumber": "device_identifier",
    "serial": "device_identifier",
    "refresh_token": "user_identifier",
    "skillId": "skill_identifier",
    "timeZone": "timezone",
    "locale": "language",
    "locales": "language",
    "bands": "equalizer_setting",
    "volume": "volume",
    "muted": "mute_flag",
    "speechConfirmation": "speech_confirmation_flag",
    "wakeWordConfirmation": "wake_word_confirmation_flag",
}

_OF_INTERFACE = {
    "AudioPlayer": "audio_player_event",
    "Speaker": "speaker_event",
    "SpeechSynthesizer": "speech_synthesizer_event",
    "System": "system_event",
}


def data_in_event(metadata: Any, has_audio: bool) -> list[DataField]:
    """The data in a voice event: its metadata document, its sound, and the account that its bearer token names."""
    found = [("user_identifier", "header.authorization")]
    if has_audio:
        found.append(("voice_recording", "audio"))
    found += _interfaces(metadata, "metadata")
    return found + data_in_document(metadata, "metadata")


def data_in_document(document: Any, path: str) -> list[DataField]:
    """The data in a JSON document or a form, by the names of its fields; `path` is where the document stands."""
    return list(_fields(document, path))


def _fields(value: Any, path: str) -> Iterator[DataField]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if kind := _OF_FIELD.get(name):
                yield kind, f"{path}.{name}"
            yield from _fields(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _fields(inner, f"{path}[{index}]")


def _interfaces(value: Any, path: str) -> Iterator[DataField]:
    """The events and states of a metadata document: every object that has a header with a known namespace."""
    if isinstance(value, Mapping):
        header = value.get("header")
        namespace = header.get("namespace") if isinstance(header, Mapping) else None
        if isinstance(namespace, str) and (kind := _OF_INTERFACE.get(namespace)):
            yield kind, path
        for name, inner in value.items():
            yield from _interfaces(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _interfaces(inner, f"{path}[{index}]")
