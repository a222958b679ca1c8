"""Finding many known values in many texts at once, whole or as a delimited part, in time linear in the texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote

ENCODINGS = ("plain", "url", "url_twice")
"""How often a text had to be URL-decoded before the value stood in it: not at all, once, twice."""

_ATOM = re.compile(r"[A-Za-z0-9]+")


class ValueIndex:
    """An index of values to look for.

    A value stands in a text where the characters on both its sides are no letters or digits of ASCII: every other
    character can be a delimiter, so ``abc`` stands in ``x|abc~1`` and in ``abc-1``, and does not stand in ``abcd``.
    Each value is filed under one of its own runs of letters and digits, the one that the fewest other values share.
    A text is cut into its runs once; only values filed under one of them are then compared.
    """

    def __init__(self, values: Iterable[str]) -> None:
        atoms = {value: _ATOM.findall(value) for value in sorted(set(values))}
        shared = Counter(atom for found in atoms.values() for atom in set(found))
        self._by_atom: dict[str, list[str]] = {}
        for value, found in atoms.items():
            if found:
                rarest = min(found, key=lambda atom: (shared[atom], -len(atom), atom))
                self._by_atom.setdefault(rarest, []).append(value)

    def find(self, text: str) -> set[str]:
        """The values that stand in `text` as it is."""
        if not self._by_atom:
            return set()
        return {
            value
            for atom in self._by_atom.keys() & set(_ATOM.findall(text))
            for value in self._by_atom[atom]
            if stands_in(value, text)
        }

    def find_decoded(self, text: str) -> dict[str, int]:
        """The values that stand in `text`, each with how often it had to be URL-decoded first: 0, 1 or 2."""
        found: dict[str, int] = {}
        for times in range(len(ENCODINGS)):
            for value in self.find(text):
                found.setdefault(value, times)
            decoded = unquote(text) if "%" in text else text
            if decoded == text:
                break
            text = decoded
        return found


def stands_in(value: str, text: str) -> bool:
    """Whether `value` stands in `text`, whole or delimited on both sides."""
    at = text.find(value)
    while at >= 0:
        end = at + len(value)
        if not (at and _joins(text[at - 1], value[0])) and not (end < len(text) and _joins(value[-1], text[end])):
            return True
        at = text.find(value, at + 1)
    return False


def _joins(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one run."""
    return left.isascii() and left.isalnum() and right.isascii() and right.isalnum()
