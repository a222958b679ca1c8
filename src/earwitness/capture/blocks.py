"""Passes a file through one buffer, block by block, and hashes it on the way."""

from __future__ import annotations

import hashlib
from io import FileIO
from typing import TYPE_CHECKING

import numpy as np

from earwitness.capture.file_header import LARGEST_BLOCK

if TYPE_CHECKING:  # importing it at run time would import numba
    from earwitness.capture.jit import Bytes

BLOCK = 8 << 20


class BlockReader:
    """A window on a file: the bytes not yet used are `buffer[start:end]`; the user moves `start`.

    `position` is where the window begins in the file, `passed` where it ends.
    """

    def __init__(self, file: FileIO) -> None:
        # A framer leaves less than a block of the largest size and a header unused.
        self.buffer: Bytes = np.empty(BLOCK + 2 * LARGEST_BLOCK, np.uint8)
        self.start = self.end = 0
        self._base = 0
        self._file = file
        self._hash = hashlib.sha256()

    @property
    def position(self) -> int:
        """Offset of `start` in the file."""
        return self._base + self.start

    @property
    def passed(self) -> int:
        """Offset of `end` in the file."""
        return self._base + self.end

    def more(self) -> bool:
        """Move what is unused to the front and read on; False at the end of the file."""
        rest = self.buffer[self.start : self.end].copy()
        self.buffer[: len(rest)] = rest
        self._base += self.start
        self.start, self.end = 0, len(rest)
        view = self.buffer.data
        limit = self.end + BLOCK
        while self.end < limit:
            got = self._file.readinto(view[self.end : limit])
            if not got:
                break
            self._hash.update(view[self.end : self.end + got])
            self.end += got
        return self.end > len(rest)

    def skip(self, size: int) -> bool:
        """Let `size` bytes pass; False where the file ends before."""
        while size > self.end - self.start:
            size -= self.end - self.start
            self.start = self.end
            if not self.more():
                return False
        self.start += size
        return True

    def sha256(self) -> str:
        """Hash of the whole file; reads it to its end."""
        self.start = self.end
        while self.more():
            self.start = self.end
        return self._hash.hexdigest()
