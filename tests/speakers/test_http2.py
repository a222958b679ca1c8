from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from earwitness.model.network import DeviceLink, Internet
from earwitness.speakers.http2 import Http2Connection
from earwitness.speakers.multipart import form_data
from earwitness.speakers.transport import Unreachable, tls_context
from tests.speakers.simulated_service import VOICE, Answer, Event, Service

EVENTS, AUTHORIZATION = "/v20160207/events", ("authorization", "Bearer x")
METADATA = b'{"event": {"header": {"namespace": "A", "name": "%d"}}}'


@pytest.fixture
def tls(internet: Internet, tmp_path: Path) -> ssl.SSLContext:
    return tls_context(internet.ca_file, tmp_path / "keys.log", "h2")


@pytest.fixture
async def connection(link: DeviceLink, tls: ssl.SSLContext) -> AsyncIterator[Http2Connection]:
    opened = await Http2Connection.open(link, VOICE, tls)
    yield opened
    await opened.close()


def event(number: int, audio: bytes = b"") -> tuple[list[tuple[str, str]], bytes]:
    content_type, body = form_data([("metadata", "application/json", METADATA % number), ("audio", "a/b", audio)])
    return [AUTHORIZATION, ("content-type", content_type)], body


async def test_many_streams_share_the_connection_and_keep_to_its_windows(
    connection: Http2Connection, service: Service
) -> None:
    sounds = [os.urandom(200_000 + number) for number in range(5)]
    service.script = lambda event: Answer(200, "a/b", event.audio or b"")
    status, over = await connection.open_downchannel("/v20160207/directives", [AUTHORIZATION])
    answers = await asyncio.gather(
        *(connection.request("POST", EVENTS, *event(number, sound)) for number, sound in enumerate(sounds))
    )
    assert [(answer.status, answer.body) for answer in answers] == [(200, sound) for sound in sounds]
    assert (status, over.done()) == (200, False)
    assert len(service._voice_connections) == 1


async def test_a_reset_stream_leaves_the_others_alone(connection: Http2Connection, service: Service) -> None:
    service.script = lambda event: Answer(0) if event.name == "A.0" else Answer(200, "a/b", b"fine")
    lost, fine = await asyncio.gather(
        *(connection.request("POST", EVENTS, *event(number)) for number in range(2)), return_exceptions=True
    )
    assert isinstance(lost, ConnectionResetError)
    assert not isinstance(fine, BaseException) and fine.body == b"fine"
    assert not connection.lost


async def test_a_lost_connection_wakes_everyone_who_waits(connection: Http2Connection, service: Service) -> None:
    _, over = await connection.open_downchannel("/v20160207/directives", [AUTHORIZATION])
    service.script = lambda event: Answer(-1)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(connection.request("POST", EVENTS, *event(0)), 5)
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(over, 5)
    assert connection.lost
    with pytest.raises(ConnectionResetError):
        await connection.request("POST", EVENTS, *event(1))


async def test_a_request_given_up_is_cancelled_at_the_peer(connection: Http2Connection, service: Service) -> None:
    hung: list[Event] = []

    def hang(event: Event) -> Answer:
        hung.append(event)
        return Answer(200, "a/b", bytes(10_000_000))

    service.script = hang
    request = asyncio.create_task(connection.request("POST", EVENTS, *event(0)))
    while not hung:
        await asyncio.sleep(0.01)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    service.script = lambda event: Answer(200, "a/b", b"fine")
    answered = await asyncio.wait_for(connection.request("POST", EVENTS, *event(1)), 5)
    assert (answered.body, service.resets) == (b"fine", 1)


async def test_a_host_without_http2_is_unreachable(link: DeviceLink, tls: ssl.SSLContext) -> None:
    with pytest.raises(Unreachable, match="does not speak HTTP/2"):
        await Http2Connection.open(link, "cdn.test", tls)


@pytest.mark.parametrize("noise", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\4\4\0\0\0\0\1abcd", os.urandom(200)])
async def test_noise_in_place_of_frames_is_a_lost_connection(noise: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(noise)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        connection = Http2Connection("x.test", *await asyncio.open_connection(*server.sockets[0].getsockname()))
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(connection.request("GET", "/", []), 0.5)
        await connection.close()
