from __future__ import annotations

import io
import shutil
import struct
import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.model.errors import BadInput
from earwitness.speakers.speech import RATE, _resampled, spoken, wav_seconds

needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


def wav(samples: bytes, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(rate)
        audio.writeframes(samples)
    return file.getvalue()


@needs_espeak
async def test_speech_is_audible_of_plausible_length_and_always_the_same() -> None:
    first, again, other = await spoken("open style daily"), await spoken("open style daily"), await spoken("stop")
    assert first == again != other
    samples = np.frombuffer(first, "<i2")
    assert 0.8 < len(samples) / RATE < 2.5
    assert np.abs(samples).max() > 5_000


@needs_espeak
async def test_an_utterance_is_never_an_option_and_may_be_empty() -> None:
    assert len(await spoken("--version")) > RATE
    assert await spoken("") == b""


def test_resampling_keeps_what_is_audible_and_removes_what_would_fold_back() -> None:
    at = np.arange(22_050) / 22_050
    low, high = np.sin(2 * np.pi * 1_000 * at), np.sin(2 * np.pi * 9_500 * at)
    samples = _resampled(np.rint(8_000 * (low + high)).astype("<i2"), 22_050)
    spectrum = np.abs(np.fft.rfft(samples)) / len(samples) * 2
    assert len(samples) == RATE
    assert spectrum[1_000] == pytest.approx(8_000, rel=0.01)
    assert np.delete(spectrum, 1_000).max() < 10


def test_the_length_of_a_wav_is_that_of_its_samples() -> None:
    assert wav_seconds(wav(bytes(48_000))) == 1.5
    assert wav_seconds(wav(bytes(44_100), 22_050)) == 1.0
    piped = bytearray(wav(bytes(32_000)))
    piped[40:44] = struct.pack("<I", 0x7FFFF000)  # as programs write into a pipe
    assert wav_seconds(bytes(piped)) == 1.0


@pytest.mark.parametrize(
    "audio",
    [b"", b"ID3 an mp3", b"RIFF\0\0\0\0WAVE", wav(b""), wav(b"ab")[:20], wav(b"ab", 1)[:28] + bytes(4) + b"data"],
)
def test_other_files_are_bad_input(audio: bytes) -> None:
    with pytest.raises(BadInput):
        wav_seconds(audio)


@given(
    st.lists(st.sampled_from([b"fmt ", b"data", b"\x10\0\0\0", bytes(16), b"\1" * 16]) | st.binary(max_size=4)).map(
        b"".join
    )
)
def test_any_bytes_give_a_length_or_bad_input(chunks: bytes) -> None:
    try:
        assert wav_seconds(b"RIFF\0\0\0\0WAVE" + chunks) > 0
    except BadInput:
        return
