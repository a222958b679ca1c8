"""Consent strings: they differ between profiles and travel everywhere, yet say what a person allowed, not who it is."""

from __future__ import annotations

import re
from urllib.parse import unquote

_WORDS = r"consent|gdpr|gpp|us_?privacy|ccpa|tc_?string|optanon|didomi|addtl"
_NAME = re.compile(rf"{_WORDS}|(?:^|[_.-])cmp(?:[_.-]|$)", re.IGNORECASE)
_PARAMETER = re.compile(rf"(?:^|[?&;])[^=&?;#]*(?:{_WORDS})[^=&?;#]*=([^&;#]+)", re.IGNORECASE)
_FIELD = re.compile(rf'"[^"]*(?:{_WORDS})[^"]*"\s*:\s*"([^"]+)"', re.IGNORECASE)
_MENTIONED = re.compile(_WORDS, re.IGNORECASE)

# IAB's Transparency and Consent Framework, version 2: base64url that starts with the version (6 bits, so "C"), then
# creation and last change in tenths of a second (36 bits each); segments follow after dots.
_TCF = re.compile(r"C[A-Za-z0-9_-]{26,}(?:\.[A-Za-z0-9_-]+)*")
_ALPHABET = {c: i for i, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")}
_TENTHS_2018, _TENTHS_2100 = 15_148_000_000, 41_024_000_000
# IAB's Global Privacy Platform (header of type 3, so "DB", sections after "~") and Google's additional consent.
_GPP = re.compile(r"DB[A-Za-z0-9_-]{2,}~.+")
_ADDITIONAL = re.compile(r"[12]~[0-9.]*(?:~dv\.[0-9.]*)?")


def names_consent(name: str) -> bool:
    """Whether a cookie, field or parameter of this name holds a consent string."""
    return bool(_NAME.search(name))


def is_consent_string(value: str) -> bool:
    """Whether `value` is built like a consent string (TCF 2, GPP, Google's additional consent)."""
    if _GPP.fullmatch(value) or _ADDITIONAL.fullmatch(value):
        return True
    if not _TCF.fullmatch(value):
        return False
    created, changed = _number(value[1:7]), _number(value[7:13])
    return _TENTHS_2018 <= created <= changed <= _TENTHS_2100


def consent_values(text: str) -> set[str]:
    """Values that an address or body hands over under a consent parameter's name, URL-decoded."""
    if not _MENTIONED.search(text):
        return set()
    found = {unquote(value) for value in _PARAMETER.findall(text)}
    return found | set(_FIELD.findall(text))


def _number(digits: str) -> int:
    number = 0
    for digit in digits:
        number = number * 64 + _ALPHABET[digit]
    return number
