"""A minimal HTTP/2 client on the `h2` library, for tests of the voice service."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import h2.connection
import h2.events


@dataclass
class Reply:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Client:
    """One connection; `lost` is set when the server is gone."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.host, self._reader, self._writer = host, reader, writer
        self._h2 = h2.connection.H2Connection()
        self._replies: dict[int, Reply] = {}
        self._window = asyncio.Event()
        self.lost = asyncio.Event()
        self._h2.initiate_connection()
        self._flush()
        self._receiving = asyncio.create_task(self._receive())

    @classmethod
    async def open(cls, port: int, host: str, ca_file: Path) -> Client:
        tls = ssl.create_default_context(cafile=str(ca_file))
        tls.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=host)
        return cls(host, reader, writer)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._receiving.cancel()
        self._writer.close()

    async def start(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        number = self._h2.get_next_available_stream_id()
        reply = self._replies[number] = Reply()
        given = {":authority": self.host} | headers
        pseudo = {":method": method, ":scheme": "https", ":path": path, ":authority": given.pop(":authority")}
        self._h2.send_headers(number, [*pseudo.items(), *given.items()], end_stream=not body)
        self._flush()
        while body and not reply.ended.is_set():
            room = min(self._h2.local_flow_control_window(number), self._h2.max_outbound_frame_size)
            if not room:
                self._window.clear()
                await self._window.wait()
                continue
            piece, body = body[:room], body[room:]
            self._h2.send_data(number, piece, end_stream=not body)
            self._flush()
        return reply

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        reply = await self.start(method, path, headers, body)
        async with asyncio.timeout(5):
            await reply.ended.wait()
        return reply

    async def _receive(self) -> None:
        while data := await self._reader.read(65536):
            for event in self._h2.receive_data(data):
                self._take(event)
            self._flush()
        self.lost.set()

    def _take(self, event: h2.events.Event) -> None:
        reply = self._replies.get(getattr(event, "stream_id", 0))
        if isinstance(event, h2.events.WindowUpdated):
            self._window.set()
        elif reply is None:
            return
        elif isinstance(event, h2.events.ResponseReceived):
            reply.headers = {name.decode(): value.decode() for name, value in event.headers}
            reply.status = int(reply.headers[":status"])
            reply.started.set()
        elif isinstance(event, h2.events.DataReceived):
            reply.body += event.data
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
            reply.ended.set()
            self._window.set()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
