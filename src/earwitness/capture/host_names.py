"""Where host names come from, and which foreign bytes may pass as one."""

from __future__ import annotations

import ipaddress
import re
import string

SOURCES = ("sni", "quic_sni", "http_host", "dns")  # best first

# RFC 1123 and 2181: letters, digits, hyphens inside; underscores occur in DNS and are let through.
_LABEL = rb"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rb"(?:" + _LABEL + rb"\.)*" + _LABEL)
_NUMERIC_END = re.compile(rb"(?:.*\.)?[0-9]+")
_PLAIN = (string.ascii_letters + string.digits + ".-_").encode()
_PORT = re.compile(rb":[0-9]{0,5}\Z")


def host_name(raw: bytes) -> str | None:
    """`raw` in lower case and without a final dot if it is a valid host name, else None."""
    name = raw.lower().removesuffix(b".")
    if len(name) > 253 or not _NAME.fullmatch(name) or _NUMERIC_END.fullmatch(name):
        return None
    return name.decode("ascii")


def is_address(raw: bytes) -> bool:
    """Whether `raw` is an IP address where a name could stand, in brackets or not: no name, but no fault either."""
    try:
        ipaddress.ip_address(raw.decode("ascii").strip("[]"))
    except ValueError:
        return False
    return True


def without_port(authority: bytes) -> bytes:
    """The host of an HTTP authority."""
    return authority if authority.count(b":") > 1 and b"[" not in authority else _PORT.sub(b"", authority)


def shown(raw: bytes) -> str:
    """`raw` for people: at most 60 bytes, everything but letters, digits, dots and hyphens as hexadecimal escapes."""
    text = "".join(chr(byte) if byte in _PLAIN else f"\\x{byte:02x}" for byte in raw[:60])
    return text + ("…" if len(raw) > 60 else "")
