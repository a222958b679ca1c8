"""Names of fictional parties: drawn from neutral word lists, so that no name tells what its bearer does."""

from __future__ import annotations

from collections.abc import Sequence

from earwitness.lab.draws import pick, whole

_FIRST = (
    "al", "bel", "bram", "cald", "cor", "dal", "dor", "el", "fen", "gal", "har", "hol", "ith", "jor", "kel", "lan",
    "lor", "mar", "mel", "nor", "or", "pel", "quil", "ras", "sel", "tal", "tor", "ul", "ver", "wen", "yar", "zel",
)  # fmt: skip
_MIDDLE = ("a", "e", "i", "o", "u", "an", "en", "in", "or", "ad", "em", "ol")
_LAST = (
    "bury", "by", "dale", "den", "don", "ford", "gate", "ham", "ley", "low", "mere", "mont", "more", "ness", "nik",
    "ra", "rick", "ris", "set", "sor", "ston", "tex", "ton", "va", "vale", "wick", "worth", "xo",
)  # fmt: skip
_FORMS = (
    "Group",
    "Works",
    "Associates",
    "House",
    "Company",
    "Collective",
    "Union",
    "Brothers",
    "& Co",
    "International",
)
_LABELS = (
    "a", "b2", "c", "e", "f1", "g", "h", "io", "j", "k", "l4", "m", "n", "o2", "p", "q", "r", "s", "u", "v", "w1", "z",
)  # fmt: skip
_SEGMENTS = (
    "aa", "b", "bx", "c1", "d", "e2", "f", "gn", "h", "i4", "j", "k", "l", "m2", "n", "o", "p7", "q", "r", "s3", "t",
    "u", "v1", "w", "x", "y", "z9",
)  # fmt: skip
_PARAMETERS = (
    "a", "b", "c2", "d", "e", "ev", "f", "g", "h", "i", "j", "k", "kx", "l", "m", "n", "o", "p", "q", "r", "rx", "s",
    "t", "u", "v", "w", "x", "y", "z", "z2",
)  # fmt: skip
_COOKIES = (
    "_a", "_bx", "c_1", "dk", "_e", "fz", "g2", "_hq", "ju", "k", "lt", "_m", "n4", "_o", "pw", "qv", "r_", "sx", "_u",
    "vy", "wz", "_b", "c2", "_d", "ek", "f_", "_gx", "hs", "i3", "_j", "kq", "_l", "mz", "n_", "oe", "_p", "q1", "_r",
    "s7", "tn", "_v", "w_", "xk", "_y", "z4",
)  # fmt: skip


class Namer:
    """Draws names for one world. Each draw is keyed by what it is for; within a scope none is given twice."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._taken: set[tuple[str, str]] = set()

    def _fresh(self, scope: str, options: Sequence[str], *key: object) -> str:
        start = whole(self._seed, "name", scope, *key)
        for step in range(len(options)):
            name = options[(start + step) % len(options)]
            if (scope, name) not in self._taken:
                self._taken.add((scope, name))
                return name
        raise ValueError(f"all {len(options)} names of {scope} are taken")

    def stem(self, *key: object) -> str:
        """A pronounceable word that no other party of the world has."""
        for attempt in range(1000):
            word = "".join(
                pick(self._seed, part, "stem", index, attempt, *key)
                for index, part in enumerate((_FIRST, _MIDDLE, _LAST))
            )
            if ("stem", word) not in self._taken:
                self._taken.add(("stem", word))
                return word
        raise ValueError("no free name is left")

    def company(self, stem: str, *key: object) -> str:
        """How the party of that stem signs."""
        return f"{stem.capitalize()} {pick(self._seed, _FORMS, 'form', *key)}"

    def label(self, domain: str, *key: object) -> str:
        """A host label under `domain`."""
        return self._fresh(f"label {domain}", _LABELS, *key)

    def path(self, host: str, *key: object) -> str:
        """A path of two segments on `host`, without an extension; its first segment is unique there."""
        first = self._fresh(f"path {host}", _SEGMENTS, *key)
        return f"/{first}/{pick(self._seed, _SEGMENTS, 'segment', *key)}"

    def segment(self, *key: object) -> str:
        """One path segment."""
        return pick(self._seed, _SEGMENTS, "segment", *key)

    def parameter(self, scope: str, *key: object) -> str:
        """A query parameter, unique within `scope` (the address that receives it)."""
        return self._fresh(f"parameter {scope}", _PARAMETERS, *key)

    def cookie(self, *key: object) -> str:
        """A cookie name that no other party of the world uses."""
        return self._fresh("cookie", _COOKIES, *key)
