"""Server names in TLS ClientHellos (RFC 8446 4.1.2, RFC 6066 3). Pure functions over the bytes of a stream."""

from __future__ import annotations

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_RECORD_HEADER = 5
_LARGEST_RECORD = (1 << 14) + 256
_SERVER_NAME = 0


def begins_hello(data: bytes) -> bool:
    """Whether `data` may be the beginning of a stream that begins with a ClientHello."""
    return (
        data[:1] == bytes([_HANDSHAKE])
        and data[1:2] in (b"", b"\x03")
        and (len(data) < 3 or data[2] <= 4)
        and (len(data) < 6 or data[5] == _CLIENT_HELLO)
    )


def handshake(stream: bytes) -> bytes:
    """The handshake bytes in the TLS records that `stream` begins with, as far as they go."""
    message = bytearray()
    at = 0
    while at + _RECORD_HEADER < len(stream) and stream[at] == _HANDSHAKE and stream[at + 1] == 3:
        length = int.from_bytes(stream[at + 3 : at + 5], "big")
        if not 0 < length <= _LARGEST_RECORD:
            break
        at += _RECORD_HEADER
        message += stream[at : at + length]
        at += length
    return bytes(message)


def server_name(message: bytes) -> tuple[bytes | None, bool]:
    """The server name in the ClientHello that `message` begins with, which need not be complete.

    Returns (name or None, whether more bytes could not change the answer).
    """
    if len(message) < 4:
        return None, False
    if message[0] != _CLIENT_HELLO:
        return None, True
    size = 4 + int.from_bytes(message[1:4], "big")
    complete = len(message) >= size
    name = _find(message[:size])
    return name, complete or name is not None


def _find(hello: bytes) -> bytes | None:
    at = 4 + 2 + 32  # header, version, random
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        if at + width > len(hello):
            return None
        at += width + int.from_bytes(hello[at : at + width], "big")
    at += 2
    while at + 4 <= len(hello):
        kind = int.from_bytes(hello[at : at + 2], "big")
        length = int.from_bytes(hello[at + 2 : at + 4], "big")
        body = hello[at + 4 : at + 4 + length]
        if kind == _SERVER_NAME:
            if len(body) < 5 or body[2] != 0:
                return None
            end = 5 + int.from_bytes(body[3:5], "big")
            return body[5:end] if end <= len(body) else None
        at += 4 + length
    return None
