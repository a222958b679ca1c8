"""The lab's mouth: text spoken by espeak-ng, as the audio that the voice service and the streams send."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import wave

import numpy as np
import numpy.typing as npt

from earwitness.model.errors import MissingTool

RATE = 16_000
"""Samples per second of all audio in the lab (Alexa Voice Service's AUDIO_L16_RATE_16000)."""

VOICE = "en-us"
"""The espeak-ng voice that speaks where no other is asked for."""


def require_espeak() -> None:
    """Make sure that espeak-ng can be called.

    Raises:
        MissingTool: it is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise MissingTool("espeak-ng", "apt-get install espeak-ng")


@functools.lru_cache(maxsize=4096)
def spoken(text: str, voice: str = VOICE) -> bytes:
    """`text` as speech: mono signed 16-bit little-endian samples at 16 kHz, without a header.

    Blocks for about 15 ms per sentence the first time; equal calls are answered from memory.

    Raises:
        MissingTool: espeak-ng is not installed.
    """
    require_espeak()
    # The text goes in by standard input: an answer that begins with "-" is not an option.
    ran = subprocess.run(
        ["espeak-ng", "--stdin", "-v", voice, "--stdout"],
        input=text.encode(),
        capture_output=True,
        check=True,
    )
    # The header of a WAV written to a pipe states no true length, so its data is what follows it.
    rate = int.from_bytes(ran.stdout[24:28], "little")
    samples = np.frombuffer(ran.stdout[44 : len(ran.stdout) // 2 * 2], "<i2")
    return _resampled(samples.astype(np.float64), rate).tobytes()


def wav(pcm: bytes) -> bytes:
    """Samples as `spoken` gives them, wrapped as a complete WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(pcm)
    return file.getvalue()


def seconds(pcm: bytes) -> float:
    """How long samples as `spoken` gives them play, in seconds."""
    return len(pcm) / 2 / RATE


def _resampled(samples: npt.NDArray[np.float64], rate: int) -> npt.NDArray[np.int16]:
    """`samples` at `rate` brought to `RATE`, band-limited by cutting the spectrum."""
    length = round(len(samples) * RATE / rate)
    if length == 0:
        return np.zeros(0, "<i2")
    spectrum = np.fft.rfft(samples)
    kept = np.zeros(length // 2 + 1, complex)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    wave_form = np.fft.irfft(kept, length) * (length / len(samples))
    return np.clip(np.round(wave_form), -32768, 32767).astype("<i2")
