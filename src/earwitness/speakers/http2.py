"""A small HTTP/2 client (RFC 9113): many streams over one TLS connection, some of them open for long.

`h2` keeps the protocol's state; this module moves bytes, wakes whoever waits, and honours flow control both ways:
a request body waits for the peer's window, and received bytes are given back as soon as they are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hyperframe.exceptions

from earwitness.model.network import DeviceLink
from earwitness.speakers.transport import Unreachable, close_stream, open_stream

_CHUNK = 65_536
_CANCEL = 8
_MOST_BYTES = 32 * 2**20

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Response:
    """A whole answer: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class _Stream:
    """What has arrived on one stream so far. The futures fail with the reason when the stream does."""

    started: asyncio.Future[None]
    ended: asyncio.Future[None]
    sent: bool  # whether the request is out in full
    kept: bool = True  # whether the answer's body is wanted; a downchannel's is not
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)

    def needs_reset(self) -> bool:
        """Whether the stream is still open on a side: the answer, or the request, is not through."""
        if self.ended.cancelled() or not self.ended.done():  # whoever waits on a future may cancel it
            return True
        return self.ended.exception() is None and not self.sent

    def fail(self, why: ConnectionError) -> None:
        for future in (self.started, self.ended):
            if not future.done():
                future.set_exception(why)
                future.exception()  # nobody may be waiting; that is no error of its own


class Http2Connection:
    """One connection to `host`. After any failure of the connection all calls raise ConnectionError."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host, self._reader, self._writer = host, reader, writer
        # Header bytes stay bytes: what a peer sends need not be text.
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, _Stream] = {}
        self._window_grew = asyncio.Event()
        self._failed: ConnectionError | None = None
        self._h2.initiate_connection()
        self._receiving = asyncio.create_task(self._receive())

    @classmethod
    async def open(cls, link: DeviceLink, host: str, tls: ssl.SSLContext) -> Http2Connection:
        """Connect to port 443 of `host`; `tls` must offer the ALPN protocol h2.

        Raises:
            Unreachable: nothing answers, or the peer does not speak HTTP/2.
        """
        reader, writer = await open_stream(link, host, 443, tls)
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            await close_stream(writer)
            raise Unreachable("tls", f"{host} does not speak HTTP/2")
        connection = cls(host, reader, writer)
        connection._flush()
        return connection

    @property
    def lost(self) -> bool:
        """Whether the connection can no longer be used."""
        return self._failed is not None

    async def request(self, method: str, path: str, headers: Headers, body: bytes = b"") -> Response:
        """Send a request and wait for the whole answer.

        Raises:
            ConnectionError: the stream or the connection was lost before the answer's end.
        """
        number, stream = self._start(method, path, headers, bool(body))
        try:
            if body:
                await self._send_body(number, stream, body)
            await stream.ended
            return Response(_status(stream.headers), stream.headers, bytes(stream.body))
        finally:
            self._forget(number)

    async def open_downchannel(self, path: str, headers: Headers) -> tuple[int, asyncio.Future[None]]:
        """GET `path` and keep the stream open, giving back what arrives on it without keeping it.

        Returns the status of the answer and a future that is done, or fails, when the stream is over.

        Raises:
            ConnectionError: no answer came.
        """
        number, stream = self._start("GET", path, headers, False)
        stream.kept = False
        try:
            await stream.started
        except BaseException:
            self._forget(number)
            raise
        return _status(stream.headers), stream.ended

    async def close(self) -> None:
        """End in order: open streams cancelled, GOAWAY, close_notify, FIN."""
        if self._failed is None:
            for number in list(self._streams):
                self._forget(number)
            self._h2.close_connection()
            with contextlib.suppress(OSError):
                self._flush()
                await self._writer.drain()
        self._receiving.cancel()
        await asyncio.wait([self._receiving])
        await close_stream(self._writer)
        if not self._receiving.cancelled():
            self._receiving.result()  # raises what nobody foresaw

    def _start(self, method: str, path: str, headers: Headers, has_body: bool) -> tuple[int, _Stream]:
        if self._failed:
            raise self._failed
        pseudo = [(":method", method), (":scheme", "https"), (":authority", self._host), (":path", path)]
        loop = asyncio.get_running_loop()
        stream = _Stream(loop.create_future(), loop.create_future(), sent=not has_body)
        try:
            number = self._h2.get_next_available_stream_id()
            self._h2.send_headers(number, [*pseudo, *headers], end_stream=not has_body)
        except h2.exceptions.ProtocolError as error:  # too many streams, or the peer is going away
            raise ConnectionResetError(f"{self._host} takes no further request") from error
        self._streams[number] = stream
        self._flush()
        return number, stream

    async def _send_body(self, number: int, stream: _Stream, body: bytes) -> None:
        rest = memoryview(body)
        while rest:
            if stream.ended.done():
                return  # answered, or lost, before all was sent
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if room == 0:
                self._window_grew.clear()
                await self._window_grew.wait()
                continue
            piece, rest = rest[:room], rest[room:]
            self._h2.send_data(number, piece.tobytes(), end_stream=not rest)
            stream.sent = not rest
            self._flush()
            await self._writer.drain()

    async def _receive(self) -> None:
        why = f"the connection to {self._host} is closed"
        try:
            while data := await self._reader.read(_CHUNK):
                for event in self._h2.receive_data(data):
                    self._handle(event)
                self._flush()
            why = f"{self._host} closed the connection"
        except (h2.exceptions.ProtocolError, hyperframe.exceptions.HyperframeError) as error:
            why = f"{self._host} does not keep to HTTP/2: {type(error).__name__}"
            self._flush()  # h2 has prepared the GOAWAY that says so
        except OSError:
            why = f"{self._host} broke the connection off"
        finally:
            self._fail(ConnectionResetError(why))

    def _handle(self, event: h2.events.Event) -> None:
        number = getattr(event, "stream_id", None)
        stream = self._streams.get(number) if number else None
        if isinstance(event, h2.events.DataReceived):
            self._take_data(event, stream)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._window_grew.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self._fail(ConnectionResetError(f"{self._host} is going away (code {int(event.error_code or 0)})"))
        elif stream is None:
            pass  # a stream that was given up
        elif isinstance(event, h2.events.ResponseReceived) and not stream.started.done():
            stream.headers = {_text(name): _text(value) for name, value in event.headers}
            stream.started.set_result(None)
        elif isinstance(event, h2.events.StreamEnded) and not stream.ended.done():
            stream.ended.set_result(None)
            self._window_grew.set()
        elif isinstance(event, h2.events.StreamReset):
            stream.fail(ConnectionResetError(f"{self._host} reset the stream (code {int(event.error_code)})"))
            self._window_grew.set()

    def _take_data(self, event: h2.events.DataReceived, stream: _Stream | None) -> None:
        assert event.stream_id is not None
        if stream is not None and stream.kept:
            stream.body += event.data
            if len(stream.body) > _MOST_BYTES:
                self._forget(event.stream_id)
                stream.fail(ConnectionResetError(f"{self._host} sent more than {_MOST_BYTES} bytes"))
        if event.flow_controlled_length:
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _forget(self, number: int) -> None:
        """Give a stream up; the peer is told when it is not over on both sides."""
        stream = self._streams.pop(number, None)
        if stream is None or self._failed:
            return
        if stream.needs_reset():
            self._h2.reset_stream(number, _CANCEL)
            self._flush()

    def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._writer.write(data)

    def _fail(self, why: ConnectionError) -> None:
        self._failed = self._failed or why
        for stream in self._streams.values():
            stream.fail(self._failed)
        self._window_grew.set()


def _status(headers: dict[str, str]) -> int:
    status = headers.get(":status", "")
    return int(status) if status.isascii() and status.isdigit() else 0


def _text(value: bytes) -> str:
    return value.decode("latin-1")
