"""The Host header of the request that a plain-text HTTP/1 stream begins with (RFC 9110 7.2, RFC 9112)."""

from __future__ import annotations

import re

_METHODS = (b"GET ", b"POST ", b"PUT ", b"HEAD ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE ")
_HOST = re.compile(rb"\r?\nhost:([^\r\n]*)\r?\n", re.IGNORECASE)
_END = re.compile(rb"\r?\n\r?\n")


def begins_request(data: bytes) -> bool:
    """Whether `data` may be the beginning of a stream that begins with a request."""
    return any(data.startswith(method) or method.startswith(data) for method in _METHODS)


def host(stream: bytes) -> tuple[bytes | None, bool]:
    """The value of the Host header: (value or None, whether more bytes could not change the answer)."""
    end = _END.search(stream)
    header = stream[: end.end()] if end else stream
    found = _HOST.search(header)
    if found:
        return found[1].strip(b" \t"), True
    return None, end is not None
