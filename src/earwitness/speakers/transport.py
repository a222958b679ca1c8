"""Connections of a device: a name resolved, a TCP stream through the device's link, TLS on top where asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from earwitness.model.network import DeviceLink

_HANDSHAKE_WAIT_S = 10.0
_CLOSE_WAIT_S = 0.5

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Unreachable(ConnectionError):
    """A host cannot be talked to; `reason` is a word for the gaps table: no_address, refused, tls or timeout."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


def tls_context(ca_file: Path, keylog: Path, protocol: str) -> ssl.SSLContext:
    """Client TLS that trusts `ca_file` alone, offers the ALPN `protocol` and adds its secrets to `keylog`.

    The key log is readable by its owner only, from its first byte.

    Raises:
        OSError: a file cannot be read or written.
    """
    os.close(os.open(keylog, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca_file)
    context.set_alpn_protocols([protocol])
    context.keylog_filename = str(keylog)
    return context


async def open_stream(link: DeviceLink, host: str, port: int, tls: ssl.SSLContext | None) -> Stream:
    """An open stream to `host`; over TLS, with the host's name verified, where a context is given.

    Raises:
        Unreachable: no address, no connection, no valid certificate, or no answer in time.
    """
    try:
        async with asyncio.timeout(_HANDSHAKE_WAIT_S):
            reader, writer = await link.connect(await _address(link, host), port)
    except Unreachable:
        raise
    except TimeoutError as error:
        raise Unreachable("timeout", f"{host}:{port} did not answer") from error
    except OSError as error:
        raise Unreachable("refused", f"no connection to {host}:{port}") from error
    if tls is None:
        return reader, writer
    try:
        await writer.start_tls(tls, server_hostname=host, ssl_handshake_timeout=_HANDSHAKE_WAIT_S)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; a malformed name a ValueError
        writer.transport.abort()
        detail = getattr(error, "reason", None) or type(error).__name__
        raise Unreachable("tls", f"no TLS with {host}:{port}: {detail}") from error
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


async def close_stream(writer: asyncio.StreamWriter) -> None:
    """Close in order (TLS close_notify, FIN), but do not wait long for a peer that does not."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_WAIT_S):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        pass  # the peer was quicker


async def _address(link: DeviceLink, host: str) -> str:
    with contextlib.suppress(AddressValueError):
        return str(IPv4Address(host))
    addresses = await link.resolve(host)
    if not addresses:
        raise Unreachable("no_address", f"{host} does not exist in DNS")
    return addresses[0]
