"""An HTTP/2 server for one connection (RFC 9113): requests come in whole, answers go out under flow control.

`h2` keeps the protocol's state; this module moves bytes. A request may be answered by a stream that stays open: the
downchannel of the voice service.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import hyperframe.exceptions

_CHUNK = 65_536
_MOST_BODY_BYTES = 4 * 2**20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A request whose body has arrived. Headers by lower-case name, pseudo-headers left out."""

    method: str
    path: str
    authority: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What to answer. With `stays_open` the headers go out at once and the stream is not ended."""

    status: int
    content_type: str = ""
    body: bytes = b""
    stays_open: bool = False


@dataclass
class _Incoming:
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)


class ServerConnection:
    """One client's connection. `run` serves it to its end; `close` ends it from our side."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Callable[[Request], Awaitable[Answer]],
    ) -> None:
        self._reader, self._writer, self._answer = reader, writer, answer
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(config)
        self._incoming: dict[int, _Incoming] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._window_opened = asyncio.Event()

    async def run(self) -> None:
        """Serve until the client goes, breaks the protocol, or `close` is called."""
        self._h2.initiate_connection()
        try:
            await self._flush()
            while data := await self._reader.read(_CHUNK):
                for event in self._h2.receive_data(data):
                    self._take(event)
                await self._flush()
        except (h2.exceptions.ProtocolError, hyperframe.exceptions.HyperframeError):
            await self.close()  # h2 has prepared the GOAWAY that says why
        except OSError:
            pass  # the client is gone
        finally:
            for task in self._answering:
                task.cancel()
            self._writer.close()

    async def close(self) -> None:
        """Say goodbye and close; open streams end with the connection."""
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError):
            self._h2.close_connection()
            await self._flush()
        self._writer.close()

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers = {str(name): str(value) for name, value in event.headers}
            self._incoming[event.stream_id] = _Incoming(headers)
        elif isinstance(event, h2.events.DataReceived):
            self._take_data(event)
        elif isinstance(event, h2.events.StreamEnded):
            if incoming := self._incoming.pop(event.stream_id, None):
                task = asyncio.create_task(self._respond(event.stream_id, incoming))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
        elif isinstance(event, h2.events.StreamReset):
            self._incoming.pop(event.stream_id, None)
            self._window_opened.set()
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._window_opened.set()

    def _take_data(self, event: h2.events.DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if incoming := self._incoming.get(event.stream_id):
            incoming.body += event.data
            if len(incoming.body) > _MOST_BODY_BYTES:
                del self._incoming[event.stream_id]
                self._h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)

    async def _respond(self, stream: int, incoming: _Incoming) -> None:
        method, path, authority = (incoming.headers.get(name, "") for name in (":method", ":path", ":authority"))
        headers = {name: value for name, value in incoming.headers.items() if name[:1] != ":"}
        try:
            answer = await self._answer(Request(method, path, authority, headers, bytes(incoming.body)))
        except Exception:
            _log.exception("a request of the voice service failed")
            answer = Answer(500)
        # The client may have reset the stream or left meanwhile; then nobody waits for this.
        with contextlib.suppress(h2.exceptions.ProtocolError, OSError):
            await self._send(stream, answer)

    async def _send(self, stream: int, answer: Answer) -> None:
        headers = [(":status", str(answer.status))]
        if answer.content_type:
            headers.append(("content-type", answer.content_type))
        ends = not answer.body and not answer.stays_open
        self._h2.send_headers(stream, headers, end_stream=ends)
        await self._flush()
        rest = answer.body
        while rest:
            room = self._h2.local_flow_control_window(stream)
            if not room:
                self._window_opened.clear()
                await self._window_opened.wait()
                continue
            size = min(room, self._h2.max_outbound_frame_size)
            piece, rest = rest[:size], rest[size:]
            self._h2.send_data(stream, piece, end_stream=not rest and not answer.stays_open)
            await self._flush()

    async def _flush(self) -> None:
        if data := self._h2.data_to_send():
            self._writer.write(data)
            await self._writer.drain()
