"""PNG files written here, with every filter, read back; and what is no picture."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import numpy as np
import pytest
from numpy.typing import NDArray

from earwitness.crawl.picture import decode_png, perceptual_hash
from earwitness.model.errors import BadInput


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def paeth(a: int, b: int, c: int) -> int:
    """As the PNG specification writes it down."""
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    if pa <= pb and pa <= pc:
        return a
    return b if pb <= pc else c


def png(pixels: NDArray[np.uint8], filters: list[int]) -> bytes:
    height, width, channels = pixels.shape
    rows = [bytes(width * channels), *(row.tobytes() for row in pixels)]
    lines = bytearray()
    for y, kind in enumerate(filters, 1):
        lines.append(kind)
        for x, value in enumerate(rows[y]):
            a, c = (rows[y][x - channels], rows[y - 1][x - channels]) if x >= channels else (0, 0)
            b = rows[y - 1][x]
            lines.append(value - (0, a, b, (a + b) // 2, paeth(a, b, c))[kind] & 0xFF)
    header = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    packed = zlib.compress(bytes(lines))
    body = chunk(b"IHDR", header) + chunk(b"IDAT", packed[:20]) + chunk(b"IDAT", packed[20:]) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("filters", [[n] * 12 for n in range(5)] + [[4, 3, 2, 1, 0, 4, 1, 3, 0, 2, 4, 3]])
def test_every_filter_is_undone(channels: int, filters: list[int]):
    pixels = np.random.default_rng(7).integers(0, 256, (12, 17, channels), np.uint8)
    assert np.array_equal(decode_png(png(pixels, filters)), pixels)


def test_what_is_no_such_picture_is_said():
    whole = png(np.zeros((12, 17, 3), np.uint8), [0] * 12)
    for end in range(whole.index(b"IDAT") + 12):
        with pytest.raises(BadInput):
            decode_png(whole[:end])
    random = np.random.default_rng(7)
    for _ in range(60):
        broken = bytearray(whole)
        broken[random.integers(len(whole))] = random.integers(256)
        with suppress(BadInput):
            decode_png(bytes(broken))


def test_alike_pictures_have_like_hashes():
    ramp = np.repeat(np.linspace(0, 255, 300).astype(np.uint8)[None, :, None], 250, axis=0).repeat(3, axis=2)
    noise = np.random.default_rng(7).integers(0, 256, ramp.shape, np.uint8)
    brighter = (ramp * 0.9 + 12).astype(np.uint8)
    assert perceptual_hash(ramp) == perceptual_hash(brighter) == "0" * 16
    assert perceptual_hash(ramp[:, ::-1]) == "f" * 16
    assert perceptual_hash(noise) not in ("0" * 16, "f" * 16)
