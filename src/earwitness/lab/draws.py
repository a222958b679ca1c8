"""Keyed draws: everything random in a world is a hash of (seed, who, where, when-in-plan).

No stream of random numbers is kept, so the order in which things are asked for changes nothing: a repeated visit
meets the same prices, identifiers and names.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeVar

T = TypeVar("T")

_NORMAL = NormalDist()


def digest(seed: int, *parts: object) -> bytes:
    """Thirty-two bytes that depend on nothing but `seed` and `parts`, in order."""
    joined = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(joined.encode(), digest_size=32, key=str(seed).encode()[:64]).digest()


def whole(seed: int, *parts: object) -> int:
    """A whole number, uniform on 0 … 2⁶⁴-1."""
    return int.from_bytes(digest(seed, *parts)[:8], "big")


def uniform(seed: int, *parts: object) -> float:
    """A number strictly between 0 and 1."""
    return ((whole(seed, *parts) >> 11) + 0.5) / 2.0**53


def normal(seed: int, *parts: object) -> float:
    """A draw from the standard normal distribution."""
    return _NORMAL.inv_cdf(uniform(seed, *parts))


def pick(seed: int, options: Sequence[T], *parts: object) -> T:
    """One of `options`."""
    return options[whole(seed, *parts) % len(options)]


def shuffled(seed: int, options: Sequence[T], *parts: object) -> list[T]:
    """All of `options` in a keyed order."""
    order = sorted(range(len(options)), key=lambda index: digest(seed, *parts, index))
    return [options[index] for index in order]


def identifier(seed: int, shape: str, *parts: object) -> str:
    """A value as parties mint them: `uuid`, `hex16`, `hex32`, `base64` (with padding), `base64url` or `digits`.

    Raises:
        ValueError: the shape is unknown.
    """
    raw = digest(seed, *parts)
    if shape == "uuid":
        return str(uuid.UUID(bytes=raw[:16], version=4))
    if shape == "hex16":
        return raw[:8].hex()
    if shape == "hex32":
        return raw[:16].hex()
    if shape == "base64":
        return base64.b64encode(raw[:16]).decode()
    if shape == "base64url":
        return base64.urlsafe_b64encode(raw[:18]).decode()
    if shape == "digits":
        return str(10**18 + int.from_bytes(raw[:8], "big") % (9 * 10**18))
    raise ValueError(f"unknown identifier shape {shape!r}")
