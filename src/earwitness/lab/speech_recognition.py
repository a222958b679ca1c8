"""Which of the utterances that the voice service knows a recording holds, from its sound alone.

Every known utterance is rendered by espeak-ng in two accents. A recording and the renderings become sequences of
mel-frequency cepstra with their slopes (Davis & Mermelstein 1980; noise floor subtracted, mean removed, so that
loudness and a steady noise do not matter) and are compared by dynamic time warping (Sakoe & Chiba 1978), which
forgives another tempo. Past `_REJECTED_FROM` nothing is recognised.

Measured on 20 utterances (espeak-ng 1.51): the spoken utterance lies at 0.26–0.43 over speeds 160–190, en-us, en-gb,
other pitch and white noise up to a fifth of the signal's level, strangers at 0.58 and more; so the threshold is 0.52.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from earwitness.lab.speech import RATE, require_espeak, spoken

_VOICES = ("en-us", "en-gb")
_WINDOW, _HOP, _FFT = 800, 240, 1024  # samples: 50 ms windows every 15 ms
_BANDS, _CEPSTRA = 26, 13
_SLOPE_WEIGHT = 0.7
_FLOOR = 1e-3  # of the loud frames' power: what lies below is silence
_SPEECH_FROM = 1e-2  # of the loud frames' power: quieter ends are cut off
_LONGEST = 12 * RATE  # samples; no known utterance is nearly as long
_REJECTED_FROM = 0.52
_SHORTLIST, _OUTLINE = 24, 24  # renderings warped, frames of the outline that chooses them

_Matrix = npt.NDArray[np.float64]


class Recogniser:
    """Knows a fixed set of utterances, rendered in the background (about 30 ms of processor for each)."""

    def __init__(self, utterances: Iterable[str]) -> None:
        """Begin to render `utterances`.

        Raises:
            MissingTool: espeak-ng is not installed.
        """
        require_espeak()
        with_voices = [(text, voice) for text in dict.fromkeys(utterances) for voice in _VOICES]
        self._texts = [text for text, _ in with_voices]
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="render")
        self._renderings = [self._pool.submit(_rendered, *what) for what in with_voices]
        self._pool.shutdown(wait=False)

    def recognise(self, pcm: bytes) -> str | None:
        """The known utterance that `pcm` holds, or None where it holds another, or none.

        `pcm` is mono signed 16-bit little-endian at 16 kHz; a trailing odd byte is dropped. Waits for the renderings
        if they are not ready; decides in 10 to 20 ms of processor (measured with 9 to 270 utterances).
        """
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2")[:_LONGEST].astype(np.float64)
        heard = _features(samples)
        if heard is None or not self._texts:
            return None
        known = [_result(rendering) for rendering in self._renderings]
        outline = _outline(heard)
        coarse = [float(np.sum((outline - each_outline) ** 2)) for _, each_outline in known]
        near = np.argsort(coarse, kind="stable")[:_SHORTLIST]
        distances = _warped_distances(heard, [known[index][0] for index in near])
        best = int(np.argmin(distances))
        return self._texts[near[best]] if distances[best] < _REJECTED_FROM else None


def _result(rendering: Future[tuple[_Matrix, _Matrix]]) -> tuple[_Matrix, _Matrix]:
    return rendering.result()


@functools.lru_cache(maxsize=4096)
def _rendered(text: str, voice: str) -> tuple[_Matrix, _Matrix]:
    """Features (frames, 26) of `text` as `voice` says it, and their outline."""
    features = _features(np.frombuffer(spoken(text, voice), "<i2").astype(np.float64))
    if features is None:
        features = np.zeros((1, 2 * _CEPSTRA))
    return features, _outline(features)


def _mel_bank() -> _Matrix:
    """Triangular filters (frequencies, bands) between 100 Hz and 7 kHz, evenly spaced in mel."""
    mel = 2595 * np.log10(1 + np.fft.rfftfreq(_FFT, 1 / RATE) / 700)
    low, high = 2595 * np.log10(1 + np.array([100, 7000]) / 700)
    edges = np.linspace(low, high, _BANDS + 2)
    rising = (mel - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - mel) / np.diff(edges)[1:, None]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)).T)


_BANK = _mel_bank()
_COSINES = np.sqrt(2 / _BANDS) * np.cos(np.pi * np.outer(np.arange(_BANDS) + 0.5, np.arange(1, _CEPSTRA + 1)) / _BANDS)


def _features(samples: _Matrix) -> _Matrix | None:
    """Cepstra and their slopes (frames, 26), each half scaled to a fixed size; None where nothing sounds."""
    if len(samples) < _WINDOW or not samples.any():
        return None
    padded = np.pad(samples, _WINDOW)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_WINDOW), _FFT, axis=1)) ** 2 @ _BANK
    power = np.maximum(power - 1.5 * np.percentile(power[power.sum(axis=1) > 0], 10, axis=0), 0)
    level = power.sum(axis=1)
    loud = float(np.percentile(level, 95))
    if loud == 0:
        return None
    speech = np.flatnonzero(level > loud * _SPEECH_FROM)
    power = power[speech[0] : speech[-1] + 1]
    if len(power) < 2:
        return None
    logarithm = np.log10(np.maximum(power, loud * _FLOOR))
    cepstra = _scaled((logarithm - logarithm.mean(axis=0)) @ _COSINES, 1.0)
    return np.hstack([cepstra, _scaled(np.gradient(cepstra, axis=0), _SLOPE_WEIGHT)])


def _scaled(matrix: _Matrix, size: float) -> _Matrix:
    """`matrix` with its rows' root mean square length brought to `size`."""
    length = float(np.sqrt((matrix**2).sum(axis=1).mean()))
    return matrix * (size / length) if length else matrix


def _outline(features: _Matrix) -> _Matrix:
    """The sequence drawn with few points (24, 26): enough to tell what is worth warping."""
    where = np.linspace(0, len(features), _OUTLINE + 1)
    starts = np.minimum(where[:-1].astype(int), len(features) - 1)
    ends = np.maximum(np.ceil(where[1:]).astype(int), starts + 1)
    sums = np.vstack([np.zeros(features.shape[1]), features.cumsum(axis=0)])
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts)[:, None])


def _warped_distances(heard: _Matrix, known: list[_Matrix]) -> _Matrix:
    """Symmetric time-warped distance of `heard` to each of `known`, per frame of both.

    All are warped at once, one anti-diagonal after the other, which needs no loop over cells.
    """
    rows, columns = len(heard), max(map(len, known))
    cost = np.full((len(known), rows, columns), np.inf)
    squares = (heard**2).sum(axis=1)[:, None]
    for index, other in enumerate(known):
        squared = squares + (other**2).sum(axis=1) - 2 * heard @ other.T
        cost[index, :, : len(other)] = np.sqrt(np.maximum(0, squared))
    total = np.full((len(known), rows + 1, columns + 1), np.inf)
    total[:, 0, 0] = 0
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        here = cost[:, i - 1, j - 1]
        sideways = np.minimum(total[:, i - 1, j], total[:, i, j - 1]) + here
        total[:, i, j] = np.minimum(sideways, total[:, i - 1, j - 1] + 2 * here)
    return np.array([total[index, rows, len(other)] / (rows + len(other)) for index, other in enumerate(known)])
