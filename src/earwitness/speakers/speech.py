"""Speech: a person's utterance as the samples that a speaker's microphone would give."""

from __future__ import annotations

import asyncio
import shutil
import struct

import numpy as np
import numpy.typing as npt

from earwitness.model.errors import BadInput, MissingTool

RATE = 16_000
"""Samples per second of what `spoken` returns (Alexa Voice Service's AUDIO_L16_RATE_16000_CHANNELS_1)."""

_VOICE = "en-us"
_INSTALL = "sudo apt-get install --no-install-recommends espeak-ng"
_WAIT_S = 30.0


def find_espeak() -> str:
    """Path of the program that speaks.

    Raises:
        MissingTool: espeak-ng is not installed.
    """
    path = shutil.which("espeak-ng")
    if path is None:
        raise MissingTool("espeak-ng", _INSTALL)
    return path


async def spoken(utterance: str) -> bytes:
    """`utterance` as speech of espeak-ng: mono signed 16-bit little-endian PCM at 16 kHz, no header.

    The same text gives the same bytes. Takes some 20 ms.

    Raises:
        MissingTool: espeak-ng is not installed, or lacks its English voice.
    """
    program_path = find_espeak()
    # By standard input, so that an utterance that begins with "-" is not taken for an option.
    program = await asyncio.create_subprocess_exec(
        *(program_path, "-v", _VOICE, "--stdin", "--stdout"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        wav, _ = await asyncio.wait_for(program.communicate(utterance.encode()), _WAIT_S)
    finally:
        if program.returncode is None:
            program.kill()
    if program.returncode != 0:
        raise MissingTool(f"the {_VOICE} voice of espeak-ng", _INSTALL)
    if not wav:  # nothing to say
        return b""
    rate, _, samples = _riff(wav)
    return _resampled(np.frombuffer(samples[: len(samples) // 2 * 2], "<i2"), rate).tobytes()


def wav_seconds(audio: bytes) -> float:
    """How long a WAV file (RIFF, uncompressed or of constant rate) plays, in seconds; more than zero.

    Files written to a pipe declare no true length; what is there counts.

    Raises:
        BadInput: it is no WAV, or holds no sound.
    """
    _, byte_rate, samples = _riff(audio)
    if not samples:
        raise BadInput("audio", f"byte {len(audio)}", "sound in a WAV file")
    return len(samples) / byte_rate


def _riff(wav: bytes) -> tuple[int, int, bytes]:
    """Sample rate (1/s), byte rate (bytes/s) and samples of a WAV file.

    Raises:
        BadInput: it is no WAV.
    """
    if wav[:4] != b"RIFF" or wav[8:12] != b"WAVE":
        raise BadInput("audio", "byte 0", "a RIFF WAVE header")
    rates: tuple[int, int] | None = None
    position = 12
    while position + 8 <= len(wav):
        name, size = wav[position : position + 4], int.from_bytes(wav[position + 4 : position + 8], "little")
        chunk = wav[position + 8 : position + 8 + size]
        if name == b"fmt ":
            if len(chunk) < 16:
                raise BadInput("audio", f"byte {position}", "a format chunk of 16 bytes")
            rates = struct.unpack("<II", chunk[4:12])
        if name == b"data":
            if rates is None or 0 in rates:
                raise BadInput("audio", f"byte {position}", "a format with a rate before the samples")
            return *rates, chunk
        position += 8 + size + size % 2
    raise BadInput("audio", f"byte {len(wav)}", "a data chunk")


def _resampled(samples: npt.NDArray[np.int16], rate: int) -> npt.NDArray[np.int16]:
    """Samples taken `rate` times a second brought to `RATE` by cutting the spectrum at the new Nyquist frequency."""
    count = round(len(samples) * RATE / rate)
    if count == 0:
        return np.zeros(0, "<i2")
    bins = count // 2 + 1
    spectrum = np.fft.rfft(samples.astype(np.float64))[:bins]
    resampled = np.fft.irfft(spectrum, count) * (count / len(samples))  # irfft fills missing bins with zeros
    return np.clip(np.rint(resampled), -32768, 32767).astype("<i2")
