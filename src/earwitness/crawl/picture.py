"""PNG pictures as the browser takes them: decoded, and reduced to a hash that equal pictures share."""

from __future__ import annotations

import struct
import zlib
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from earwitness.model.errors import BadInput

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}  # colour type -> bytes for each pixel: RGB, RGBA
_LARGEST = 1 << 24  # pixels; a screen has two million
_HASH_ROWS, _HASH_COLUMNS = 8, 8


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a PNG with 8-bit RGB or RGBA samples that is not interlaced.

    Returns:
        Samples, shape (height, width, 3 or 4).

    Raises:
        BadInput: `data` is no such picture.
    """
    if not data.startswith(_SIGNATURE):
        raise BadInput("the picture", "byte 0", "a PNG")
    header, packed, at = b"", [], len(_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = body
        elif kind == b"IDAT":
            packed.append(body)
        at += 12 + length
    if len(header) != 13:
        raise BadInput("the picture", "its header", "13 bytes")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    channels = _CHANNELS.get(colour)
    if channels is None or depth != 8 or interlaced or not 0 < width * height <= _LARGEST:
        raise BadInput("the picture", "its header", "8-bit RGB or RGBA, not interlaced")
    size = height * (1 + width * channels)
    try:
        raw = zlib.decompressobj().decompress(b"".join(packed), size)
    except zlib.error as error:
        raise BadInput("the picture", "its pixels", f"zlib data ({error})") from error
    if len(raw) != size:
        raise BadInput("the picture", "its pixels", f"{size} bytes")
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels)
    if lines[:, 0].max() > 4:
        raise BadInput("the picture", "its pixels", "filter types 0 to 4")
    return _unfiltered(lines[:, 0], lines[:, 1:].reshape(height, width, channels))


def _unfiltered(filters: NDArray[np.uint8], coded: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Undo the filters (PNG specification, 9.2).

    A pixel needs those to its left, above, and above left. All pixels of a diagonal are therefore ready at once.
    """
    height, width, channels = coded.shape
    plain = np.zeros((height + 1, width + 1, channels), np.int16)
    kinds = filters.astype(np.intp)[:, None]
    for diagonal in range(height + width - 1):
        rows = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        columns = diagonal - rows
        left, above, corner = plain[rows + 1, columns], plain[rows, columns + 1], plain[rows, columns]
        to_left, to_above = np.abs(above - corner), np.abs(left - corner)
        to_corner = np.abs(left + above - 2 * corner)
        nearest = np.where(
            (to_left <= to_above) & (to_left <= to_corner), left, np.where(to_above <= to_corner, above, corner)
        )
        predicted = np.choose(kinds[rows], (np.zeros_like(left), left, above, (left + above) >> 1, nearest))
        plain[rows + 1, columns + 1] = (coded[rows, columns] + predicted) & 0xFF
    return plain[1:, 1:].astype(np.uint8)


def perceptual_hash(pixels: NDArray[np.uint8]) -> str:
    """Sixteen hexadecimal digits: whether each of 8 x 8 fields is brighter than the one to its right (dHash).

    Small changes change few bits; a picture of one plain colour gives zeros.
    """
    grey = pixels[:, :, :3].astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    fields = _averages(_averages(grey, _HASH_ROWS).T, _HASH_COLUMNS + 1).T
    # A difference below half a step of brightness is rounding.
    brighter = fields[:, :-1] > fields[:, 1:] + 0.5
    return np.packbits(brighter).tobytes().hex()


def _averages(grey: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """`count` rows, each the mean of a stretch of rows."""
    edges = np.linspace(0, len(grey), count + 1)
    return np.stack([grey[int(low) : max(int(low) + 1, int(high))].mean(axis=0) for low, high in pairwise(edges)])
