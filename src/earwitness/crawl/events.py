"""The event log of a pass: everything that the browser reported, in order, one JSON object a line.

It is the evidence that rows are read from. A line is either an event of the DevTools protocol
(`{"at": …, "visit": …, "cdp": {…}}`) or something that a collector asked for or saw (`{"at": …, "visit": …, "note": …,
"data": …}`); `at` is microseconds UTC. Secrets have been replaced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

_FLUSH_EVERY = 100


class EventLog:
    """An append-only file, readable by its owner only. `lines` is the number of lines written so far."""

    def __init__(self, path: Path, redact: Callable[[bytes], bytes]) -> None:
        """Create the file. `redact` takes the secrets out of JSON text.

        Raises:
            FileExistsError: there is one already; evidence is never written over.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "ab", buffering=1 << 20)
        self._redact = redact
        self.lines = 0
        self._unflushed = 0
        self._visit = b"null"

    def open_visit(self, visit: str) -> None:
        """Lines from here on belong to `visit`."""
        self._visit = msgspec.json.encode(visit)

    def event(self, raw: bytes) -> int:
        """Write one protocol event, already redacted, as it came.

        Returns:
            The number of its line, from 1.
        """
        return self._line(b'"cdp":', raw)

    def note(self, kind: str, data: object) -> int:
        """Write something that a collector saw; `data` is anything that JSON can say.

        Returns:
            The number of its line, from 1.
        """
        label = b'"note":%s,"data":' % msgspec.json.encode(kind)
        return self._line(label, self._redact(msgspec.json.encode(data)))

    def flush(self) -> None:
        """Hand everything to the operating system: it then survives the death of this process."""
        self._file.flush()
        self._unflushed = 0

    def close(self) -> None:
        """Flush and close; a second call does nothing."""
        if not self._file.closed:
            self.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _line(self, label: bytes, data: bytes) -> int:
        head = b'{"at":%d,"visit":%s,' % (time.time_ns() // 1000, self._visit)
        self._file.write(b"".join((head, label, data, b"}\n")))
        self.lines += 1
        self._unflushed += 1
        if self._unflushed >= _FLUSH_EVERY:
            self.flush()
        return self.lines
