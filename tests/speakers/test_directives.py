from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.model.errors import BadInput
from earwitness.speakers.directives import Play, Speak, Unknown, parse_answer
from tests.speakers.simulated_service import answer, directive, play, speak

KIND = "multipart/related; boundary=next"


def test_directives_come_in_order_with_their_sound() -> None:
    body = answer(*speak("Hello.", b"\r\n\x00sound"), play("https://cdn.test/1", "t"), directive("A", "B", {})).body
    assert parse_answer(KIND, body) == [
        Speak("speech-1", "Hello.", b"\r\n\x00sound"),
        Play("t", "https://cdn.test/1"),
        Unknown("A.B"),
    ]


def test_speech_without_caption_or_sound_is_kept_as_such() -> None:
    body = answer(directive("SpeechSynthesizer", "Speak", {"url": "cid:lost", "token": "t"})).body
    assert parse_answer(KIND, body) == [Speak("t", "", None)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"directive": {"header": {"namespace": "A"}}}).encode(),
        directive("AudioPlayer", "Play", {"audioItem": {"stream": {"url": 5, "token": "t"}}})[2],
        directive("SpeechSynthesizer", "Speak", {"url": "cid:x"})[2],
    ],
)
def test_broken_directives_are_bad_input(content: bytes) -> None:
    with pytest.raises(BadInput):
        parse_answer(KIND, answer(("application/json", "", content)).body)


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["url", "token", "caption", "content", "audioItem", "stream"]), inner)
    ),
)


@given(st.sampled_from(["SpeechSynthesizer.Speak", "AudioPlayer.Play", "Other.One"]), DOCUMENTS)
def test_any_payload_gives_directives_or_bad_input(name: str, payload: object) -> None:
    namespace, _, name = name.partition(".")
    content = json.dumps({"directive": {"header": {"namespace": namespace, "name": name}, "payload": payload}}).encode()
    try:
        [parsed] = parse_answer(KIND, answer(("application/json", "", content)).body)
    except BadInput:
        return
    assert isinstance(parsed, Speak | Play | Unknown)
    repr(parsed).encode()  # text that can be stored


@given(st.binary())
def test_any_bytes_give_directives_or_bad_input(content: bytes) -> None:
    try:
        parse_answer(KIND, answer(("application/json", "", content)).body)
    except BadInput:
        return
