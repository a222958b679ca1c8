"""A voice service, device housekeeping and audio hosts on the loopback, for tests only: real TLS, HTTP/1.1 and HTTP/2.

It knows nothing of the speaker: `script` decides what an utterance is answered, `pages` what a URL gives.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from ipaddress import IPv4Address
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from earwitness.model.network import Enrolled, Internet

VOICE = "voice.test"
TOKEN, REFRESH_TOKEN = "Atza|access-secret", "Atzr|refresh-secret"
HOSTS = (
    VOICE,
    "api.amazon.com",
    "acsechocaptiveportal.com",
    "ntp-g7g.amazon.com",
    "softwareupdates.amazon.com",
    "device-metrics-us-2.amazon.com",
    "measure.test",
    "traffic.test",
    "cdn.test",
)
ENROLLED = Enrolled(
    "p1", "account-1", "password-secret", "G0SERIAL", REFRESH_TOKEN, "02:00:00:00:07:01", "192.168.7.10"
)


@dataclass
class Page:
    """What a URL gives; `broken` resets the connection in the middle of the body."""

    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    broken: bool = False


@dataclass
class Event:
    """One event as the service received it."""

    name: str
    metadata: dict[str, object]
    audio: bytes | None
    authorization: str


@dataclass
class Answer:
    """What an event is answered; status 0 resets the stream, -1 the whole connection after half of the body."""

    status: int = 204
    content_type: str = ""
    body: bytes = b""


def answer(*parts: tuple[str, str, bytes]) -> Answer:
    """A multipart/related answer of (content type, content id, content) parts."""
    body = b"".join(
        f"--next\r\nContent-Type: {kind}\r\n{f'Content-ID: <{name}>{chr(13)}{chr(10)}' if name else ''}\r\n".encode()
        + content
        + b"\r\n"
        for kind, name, content in parts
    )
    return Answer(200, 'multipart/related; boundary="next"; type="application/json"', body + b"--next--\r\n")


def directive(namespace: str, name: str, payload: dict[str, object]) -> tuple[str, str, bytes]:
    header = {"namespace": namespace, "name": name, "messageId": "m", "dialogRequestId": "d"}
    document = {"directive": {"header": header, "payload": payload}}
    return "application/json; charset=UTF-8", "", json.dumps(document).encode()


def speak(caption: str, sound: bytes = b"sound") -> tuple[tuple[str, str, bytes], ...]:
    payload: dict[str, object] = {"url": "cid:speech", "token": "speech-1", "format": "AUDIO_MPEG"}
    payload["caption"] = {"content": caption, "type": "WEBVTT"}
    return directive("SpeechSynthesizer", "Speak", payload), ("application/octet-stream", "speech", sound)


def play(url: str, token: str = "stream-1") -> tuple[str, str, bytes]:
    stream = {"url": url, "token": token, "offsetInMilliseconds": 0}
    payload: dict[str, object] = {"playBehavior": "REPLACE_ALL", "audioItem": {"audioItemId": "a", "stream": stream}}
    return directive("AudioPlayer", "Play", payload)


class Service:
    """The servers and what they saw."""

    def __init__(self, folder: Path) -> None:
        self.script: Callable[[Event], Answer] = lambda event: Answer()
        self.pages: dict[str, Page] = {
            "https://api.amazon.com/auth/O2/token": Page(
                200,
                {"Content-Type": "application/json"},
                json.dumps({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600}).encode(),
            ),
            "https://ntp-g7g.amazon.com/time": Page(200, {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}),
        }
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []  # method, URL, headers, body
        self.events: list[Event] = []
        self.downchannels, self.resets = 0, 0
        self._voice_connections: list[_VoiceConnection] = []
        self._folder = folder

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Internet]:
        ca_file, context = certificates(self._folder, HOSTS)
        h1, h2_context = context("http/1.1"), context("h2")
        async with contextlib.AsyncExitStack() as servers:
            ports = []
            for serve, tls in ((self._serve_https, h1), (self._serve_http, None), (self._serve_voice, h2_context)):
                server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
                ports.append(server.sockets[0].getsockname()[1])
                servers.callback(server.close)
                self._voice_server = server  # the last one
            hosts = {host: str(IPv4Address("203.0.113.1") + number) for number, host in enumerate(HOSTS)}
            yield Internet(ca_file, "", hosts, {"p1": "127.0.0.1"}, *ports, frozenset({VOICE}))
            self.hang_up()

    def urls(self) -> list[str]:
        return [url for _, url, _, _ in self.requests]

    def event_names(self) -> list[str]:
        return [event.name for event in self.events]

    def hang_up(self) -> None:
        """Break every connection of the voice service."""
        for connection in self._voice_connections:
            connection.writer.transport.abort()
        self._voice_connections.clear()

    def end_downchannels(self) -> None:
        """End the open downchannels in order; the connections stay."""
        for connection in self._voice_connections:
            connection.end_downchannel()

    def vanish(self) -> None:
        """Stop listening and break every connection of the voice service, as a dying server does."""
        self._voice_server.close()
        self.hang_up()

    async def _serve_https(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve_one(reader, writer, "https")

    async def _serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve_one(reader, writer, "http")

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, scheme: str) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            first, _, rest = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            headers = {name.lower(): value for name, value in BytesParser(policy=HTTP).parsebytes(rest).items()}
            method, target, _ = first.decode().split(" ")
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            url = f"{scheme}://{headers['host']}{target}"
            self.requests.append((method, url, headers, body))
            page = self.pages.get(url.partition("?")[0], Page())
            lines = [f"HTTP/1.1 {page.status} X", *(f"{name}: {value}" for name, value in page.headers.items())]
            if page.status != 204 and "Transfer-Encoding" not in page.headers:
                lines.append(f"Content-Length: {len(page.body)}")
            content = page.body[: len(page.body) // 2] if page.broken else page.body
            writer.write("\r\n".join([*lines, "", ""]).encode() + content)
            await writer.drain()
            if page.broken:
                writer.transport.abort()
        writer.close()

    async def _serve_voice(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _VoiceConnection(self, reader, writer)
        self._voice_connections.append(connection)
        with contextlib.suppress(ConnectionError, h2.exceptions.ProtocolError):
            await connection.serve()
        writer.close()


class _VoiceConnection:
    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.service, self.reader, self.writer = service, reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        self.unsent: dict[int, bytes] = {}
        self.downchannel: int | None = None

    async def serve(self) -> None:
        self.h2.initiate_connection()
        self.flush()
        while data := await self.reader.read(65_536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.requests[event.stream_id] = dict(event.headers), bytearray()
                elif isinstance(event, h2.events.DataReceived):
                    self.requests[event.stream_id][1].extend(event.data)
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    self.unsent.pop(event.stream_id, None)
                    self.service.resets += 1
                elif isinstance(event, h2.events.StreamEnded):
                    self.respond(event.stream_id, *self.requests.pop(event.stream_id))
            self.send_what_fits()
            self.flush()
            await self.writer.drain()

    def respond(self, stream: int, headers: dict[str, str], body: bytearray) -> None:
        if headers[":path"] == "/v20160207/directives":
            self.service.downchannels += 1
            self.downchannel = stream
            self.h2.send_headers(stream, [(":status", "200"), ("content-type", "multipart/related; boundary=x")])
            return
        document = b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + bytes(body)
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in BytesParser(policy=HTTP).parsebytes(document).iter_parts()
        }
        metadata = json.loads(parts["metadata"])
        header = metadata["event"]["header"]
        event = Event(f"{header['namespace']}.{header['name']}", metadata, parts.get("audio"), headers["authorization"])
        self.service.events.append(event)
        answered = self.service.script(event)
        if answered.status == 0:
            self.h2.reset_stream(stream)
        elif answered.status == -1:
            self.h2.send_headers(stream, [(":status", "200"), ("content-type", "multipart/related; boundary=next")])
            self.h2.send_data(stream, b"--next\r\n")
            self.flush()
            self.service.vanish()
        else:
            fields = [(":status", str(answered.status))]
            if answered.content_type:
                fields.append(("content-type", answered.content_type))
            self.h2.send_headers(stream, fields, end_stream=not answered.body)
            if answered.body:
                self.unsent[stream] = answered.body

    def send_what_fits(self) -> None:
        for stream, body in list(self.unsent.items()):
            while body and (room := min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)):
                self.h2.send_data(stream, body[:room], end_stream=len(body) <= room)
                body = body[room:]
            self.unsent[stream] = body
            if not body:
                del self.unsent[stream]

    def end_downchannel(self) -> None:
        if self.downchannel is not None:
            self.h2.end_stream(self.downchannel)
            self.downchannel = None
            self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())


def certificates(folder: Path, hosts: tuple[str, ...]) -> tuple[Path, Callable[[str], ssl.SSLContext]]:
    """A throwaway authority and one certificate for `hosts`: the CA's file, and server contexts by ALPN protocol."""
    now = datetime.now(UTC)

    def built(subject: str, key: ec.EllipticCurvePrivateKey, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = built("test authority", ca_key, True).sign(ca_key, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    leaf = built("test", key, False).add_extension(names, critical=False).sign(ca_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    ca_file, chain, key_file = folder / "ca.pem", folder / "chain.pem", folder / "key.pem"
    ca_file.write_bytes(authority.public_bytes(pem))
    chain.write_bytes(leaf.public_bytes(pem))
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))

    def context(protocol: str) -> ssl.SSLContext:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(chain, key_file)
        server.set_alpn_protocols([protocol])
        return server

    return ca_file, context
