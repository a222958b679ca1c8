"""How much a value can tell people apart: an estimate of its random bits."""

from __future__ import annotations

import math
import re

MIN_LENGTH = 8
"""Characters. The usual floor of studies of cookie syncing (Acar et al., CCS 2014): shorter values are settings."""

MIN_BITS = 28.0
"""Bits. 2^28 is 270 million: fewer could not tell the users of a national advertising market apart, so a value below it
is made for something else. Nine random digits have 29.9, eight of hexadecimal 32, a word of fifteen letters 22."""

_MIN_DISTINCT = 4
_RUN = re.compile(r"[A-Za-z0-9]+")
_PIECE = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_HEX = re.compile(r"[0-9a-f]+|[0-9A-F]+")
# Bits per letter of written English lie between 0.6 and 1.3 (Shannon 1951); names in code are a little freer.
_WORD = 1.5
_WORD_LENGTH = 4
_SCREEN = re.compile(r"(?<![A-Za-z0-9])\d{3,4}x\d{3,4}(?:x\d\d)?(?![A-Za-z0-9])")


def singles_out(value: str) -> bool:
    """Whether `value`, screen sizes in it left out, is long and random enough to single one profile out among all."""
    value = _SCREEN.sub(" ", value)
    drawn = "".join(_RUN.findall(value))
    return len(drawn) >= MIN_LENGTH and len(set(drawn)) >= _MIN_DISTINCT and bits(value) >= MIN_BITS


def bits(value: str) -> float:
    """Random bits of `value`, as if its runs of letters and digits were drawn evenly; words count less."""
    return sum(len(run) * _bits_per_character(run) for run in _RUN.findall(value))


def _bits_per_character(run: str) -> float:
    if run.isdigit():
        return math.log2(10)
    if run.isalpha():
        if len(run) / len(_PIECE.findall(run)) >= _WORD_LENGTH:
            return _WORD
        return math.log2(52)
    if _HEX.fullmatch(run):
        return 4.0
    if run == run.lower() or run == run.upper():
        return math.log2(36)
    return math.log2(62)
