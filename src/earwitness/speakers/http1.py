"""A small HTTP/1.1 client (RFC 9112) over a device's link: one request per connection, every redirect hop recorded.

`ResponseParser` does no I/O and takes foreign bytes; `fetch` does the I/O and always returns what was reached.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urljoin, urlsplit

from earwitness.model.errors import BadInput
from earwitness.model.network import DeviceLink
from earwitness.speakers.transport import Unreachable, close_stream, open_stream

_WHERE = "HTTP response"
_LONGEST_HEAD = 65_536
_CHUNK = 65_536
_MOST_HOPS = 10
_PORTS = {"http": 80, "https": 443}
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;="  # RFC 3986: what quoting a whole target leaves alone
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class ResponseParser:
    """One response, fed in pieces of any size.

    `status`, `headers` (lower-case names; the last of repeated ones counts) and `body` (transfer coding removed)
    are final once `complete`.
    """

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes` limits the body; a longer one is bad input."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.complete = False
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self._read = 0  # bytes consumed, for error positions
        self._next = self._head
        self._left: int | None = None  # bytes of the body or chunk to come; None until the peer closes

    def feed(self, data: bytes) -> None:
        """Take the next bytes; those after the response's end are ignored.

        Raises:
            BadInput: they are not HTTP/1.1, or the body is too long.
        """
        self._buffer += data
        while not self.complete and self._next():
            pass

    def end(self) -> None:
        """The peer has closed.

        Raises:
            BadInput: in the middle of the response.
        """
        if self._next == self._rest_of_connection:
            self.complete = True
        if not self.complete:
            raise self._bad("more bytes: the connection ended within the response")

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end > _LONGEST_HEAD or (end < 0 and len(self._buffer) > _LONGEST_HEAD):
            raise self._bad(f"a head of at most {_LONGEST_HEAD} bytes")
        if end < 0:
            return False
        first, *lines = self._take(end + 4)[:-4].decode("latin-1").split("\r\n")
        version, _, status = first.partition(" ")
        if not version.startswith("HTTP/1.") or not (status[:3].isascii() and status[:3].isdigit()):
            raise self._bad("a status line")
        self.status = int(status[:3])
        if 100 <= self.status < 200:
            return True  # an interim response; another head follows
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise self._bad("header lines of the form name: value")
            self.headers[name.lower()] = value.strip()
        self._choose_body()
        return True

    def _choose_body(self) -> None:
        length = self.headers.get("content-length")
        if self.status in (204, 304):
            self.complete = True
        elif "transfer-encoding" in self.headers:
            if self.headers["transfer-encoding"].lower() != "chunked":
                raise self._bad("no transfer coding but chunked")
            self._next = self._chunk_size
        elif length is None:
            self._next = self._rest_of_connection
        elif length.isascii() and length.isdigit() and len(length) < 20:
            self._left = int(length)
            self._check_size(self._left)
            self._next = self._counted
        else:
            raise self._bad("a Content-Length in digits")

    def _rest_of_connection(self) -> bool:
        self._check_size(len(self._buffer))
        self.body += self._take(len(self._buffer))
        return False

    def _counted(self) -> bool:
        assert self._left is not None
        piece = self._take(self._left)
        self.body += piece
        self._left -= len(piece)
        self.complete = self._left == 0
        return False

    def _chunk_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = line.partition(b";")[0].strip()
        if not 0 < len(size) <= 8 or size.strip(b"0123456789abcdefABCDEF"):
            raise self._bad("the size of a chunk")
        self._left = int(size, 16)
        self._check_size(self._left)
        self._next = self._chunk if self._left else self._trailer
        return True

    def _chunk(self) -> bool:
        assert self._left is not None
        piece = self._take(self._left)
        self.body += piece
        self._left -= len(piece)
        if self._left:
            return False
        if len(self._buffer) < 2:
            return False
        if self._take(2) != b"\r\n":
            raise self._bad("a line break after the chunk")
        self._next = self._chunk_size
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        self.complete = not line
        return True

    def _line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n")
        if end > _LONGEST_HEAD or (end < 0 and len(self._buffer) > _LONGEST_HEAD):
            raise self._bad(f"a line of at most {_LONGEST_HEAD} bytes")
        return None if end < 0 else self._take(end + 2)[:-2]

    def _take(self, count: int) -> bytes:
        piece = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._read += len(piece)
        return piece

    def _check_size(self, more: int) -> None:
        if len(self.body) + more > self._most_bytes:
            raise self._bad(f"a body of at most {self._most_bytes} bytes")

    def _bad(self, expected: str) -> BadInput:
        return BadInput(_WHERE, f"byte {self._read}", expected)


@dataclass
class Fetched:
    """What a request led to: the hosts on its way, in order, and the last response.

    Where it failed, `failure` is a reason for the gaps table with one line for people; `hops` then ends with the
    host that failed. The line never holds a URL: their queries carry identifiers.
    """

    hops: list[str] = field(default_factory=list)
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    failure: tuple[str, str] | None = None


async def fetch(
    link: DeviceLink,
    tls: ssl.SSLContext,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    *,
    most_bytes: int,
    wait_s: float,
) -> Fetched:
    """Send one request and follow its redirects (as GET), each over a connection of its own.

    `headers` go to every hop. The body may have `most_bytes`; every hop may take `wait_s` seconds. Success is any
    2xx answer. Network and peer failures are returned, not raised.
    """
    fetched = Fetched()
    while True:
        try:
            parts = urlsplit(url)
            port = _PORTS[parts.scheme]
            host, port = parts.hostname, parts.port or port
        except (ValueError, KeyError):
            host = None
        if not host:
            fetched.failure = ("bad_response", "led to an address that is neither http nor https")
            return fetched
        fetched.hops.append(host)
        target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_URL_CHARACTERS)
        request = _request(method, target, parts.netloc.rpartition("@")[2], headers, body)
        try:
            async with asyncio.timeout(wait_s):
                context = tls if parts.scheme == "https" else None
                response = await _exchange(link, host, port, context, request, most_bytes)
        except Unreachable as error:
            fetched.failure = (error.reason, str(error))
        except TimeoutError:
            fetched.failure = ("timeout", f"{host} did not answer within {wait_s:g} s")
        except OSError:
            fetched.failure = ("reset", f"{host} broke the connection off")
        except BadInput as error:
            fetched.failure = ("bad_response", f"{host}: {error}")
        if fetched.failure:
            return fetched
        fetched.status, fetched.headers, fetched.body = response.status, response.headers, bytes(response.body)
        if response.status not in _REDIRECTS or "location" not in response.headers:
            if not 200 <= response.status < 300:
                fetched.failure = ("status", f"{host} answered {response.status}")
            return fetched
        if len(fetched.hops) == _MOST_HOPS:
            fetched.failure = ("too_many_redirects", f"gave up after {_MOST_HOPS} hosts")
            return fetched
        url = urljoin(url, response.headers["location"])
        method, body = "GET", b""


async def _exchange(
    link: DeviceLink, host: str, port: int, tls: ssl.SSLContext | None, request: bytes, most_bytes: int
) -> ResponseParser:
    reader, writer = await open_stream(link, host, port, tls)
    try:
        writer.write(request)
        await writer.drain()
        parser = ResponseParser(most_bytes)
        while not parser.complete:
            if data := await reader.read(_CHUNK):
                parser.feed(data)
            else:
                parser.end()
        return parser
    finally:
        await close_stream(writer)


def _request(method: str, target: str, authority: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}", "Connection: close", "Accept: */*"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("ascii", "replace") + body
