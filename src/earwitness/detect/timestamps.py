"""Times hidden in values: a moment of the first visit differs between profiles and stays, yet identifies nobody."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_CLOCK = r"\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?"
_WRITTEN = re.compile(
    rf"\d{{4}}-\d\d-\d\d(?:[T +]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?)?"
    rf"|(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[ ,+]+)?(?:(?:{_MONTHS})[a-z]*[ ,+-]+\d{{1,2}}|\d{{1,2}}[ ,+-]+"
    rf"(?:{_MONTHS})[a-z]*)[ ,+-]+\d{{4}}(?:[ ,+T]+{_CLOCK}(?:[ +]*(?:GMT|UTC)?(?:[ +-]*\d{{4}})?)?)?",
    re.IGNORECASE,
)
_RUN = re.compile(r"[A-Za-z0-9]+")

# Plain decimal times may lie some way off: expiry dates two years ahead, times of the last change before the study.
_BEFORE, _AHEAD = timedelta(days=366), timedelta(days=800)
# In other notations, and glued to something else, only a time close to the first sight counts as one: there the chance
# that a random value looks like a time must be small.
_CLOSE = timedelta(days=1)
_UNITS = {10: 1, 13: 10**3, 16: 10**6, 19: 10**9}
# Glued to something else, only what browsers and servers commonly make: milliseconds, seconds.
_GLUED = (13, 10)


def without_times(value: str, seen_at: datetime) -> str:
    """`value` with every time in it taken out; `seen_at` (UTC) is when the value was first seen.

    Known notations: written dates; Unix times in s, ms, µs and ns, decimal; ``YYYYMMDD`` with or without a clock; in
    hexadecimal and base 36 (as ``Date.now().toString(36)`` makes them), alone or at the head of a longer run.
    """
    return _RUN.sub(lambda run: _rest(run[0], seen_at), _WRITTEN.sub(" ", value))


def _rest(run: str, seen_at: datetime) -> str:
    if run.isdigit():
        if _decimal(run, seen_at, _BEFORE, _AHEAD) or _calendar(run, seen_at):
            return ""
        for length in _GLUED:
            if len(run) > length:
                if _decimal(run[:length], seen_at, _CLOSE, _CLOSE):
                    return run[length:]
                if _decimal(run[-length:], seen_at, _CLOSE, _CLOSE):
                    return run[:-length]
        return run
    # Seconds have 8 hexadecimal digits until 2106, milliseconds 11 (and 8 in base 36) until well past 2050; 13
    # hexadecimal digits are seconds and microseconds side by side (PHP's uniqid).
    lower = run.lower()
    if len(lower) == 13 and _close(lower[:8], 16, 1, seen_at) and _is_hex(lower):
        return ""
    for length, base, unit in ((11, 16, 10**3), (8, 16, 1), (8, 36, 10**3)):
        if len(lower) >= length and _close(lower[:length], base, unit, seen_at):
            return run[length:]
    return run


def _is_hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text)


def _close(text: str, base: int, unit: int, seen_at: datetime) -> bool:
    try:
        number = int(text, base)
    except ValueError:
        return False
    return _within(number / unit, seen_at, _CLOSE, _CLOSE)


def _decimal(digits: str, seen_at: datetime, before: timedelta, ahead: timedelta) -> bool:
    unit = _UNITS.get(len(digits))
    return unit is not None and _within(int(digits) / unit, seen_at, before, ahead)


def _calendar(digits: str, seen_at: datetime) -> bool:
    form = {8: "%Y%m%d", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if form is None:
        return False
    try:
        moment = datetime.strptime(digits, form).replace(tzinfo=seen_at.tzinfo)
    except ValueError:
        return False
    return seen_at - _BEFORE <= moment <= seen_at + _AHEAD


def _within(unix_s: float, seen_at: datetime, before: timedelta, ahead: timedelta) -> bool:
    return -before.total_seconds() <= unix_s - seen_at.timestamp() <= ahead.total_seconds()
