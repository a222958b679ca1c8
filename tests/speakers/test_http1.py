from __future__ import annotations

import asyncio
import ssl
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.model.errors import BadInput
from earwitness.model.network import DeviceLink, Internet
from earwitness.speakers.http1 import ResponseParser, fetch
from tests.speakers.simulated_service import Page, Service


def parsed(*pieces: bytes, closed: bool = False, most_bytes: int = 1000) -> ResponseParser:
    parser = ResponseParser(most_bytes)
    for piece in pieces:
        parser.feed(piece)
    if closed:
        parser.end()
    return parser


@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more", 200, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n",
            200,
            b"hello!",
        ),
    ],
)
def test_responses_are_read_in_pieces_of_any_size(response: bytes, status: int, body: bytes) -> None:
    for size in (1, 3, len(response)):
        parser = parsed(*(response[start : start + size] for start in range(0, len(response), size)))
        assert (parser.complete, parser.status, bytes(parser.body)) == (True, status, body)


def test_without_a_length_the_body_ends_with_the_connection() -> None:
    parser = parsed(b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nsome", b" more")
    assert not parser.complete
    parser.end()
    assert (parser.complete, bytes(parser.body), parser.headers) == (True, b"some more", {"server": "x"})


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1001),
        b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000,
    ],
)
def test_what_is_not_a_whole_response_is_bad_input(response: bytes) -> None:
    with pytest.raises(BadInput):
        parsed(response, closed=True)


PIECES = [
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 C\r\n",
    b"\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
]


@given(st.lists(st.sampled_from([*PIECES, b"3\r\n", b"abc", b"0\r\n", b":", b" "]) | st.binary(max_size=5)))
def test_any_bytes_give_a_response_or_bad_input(pieces: list[bytes]) -> None:
    try:
        assert parsed(*pieces, closed=True).complete
    except BadInput:
        return


@pytest.fixture
def tls(internet: Internet) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(internet.ca_file)
    return context


async def test_a_body_over_the_limit_is_given_up(service: Service, link: DeviceLink, tls: ssl.SSLContext) -> None:
    service.pages["https://cdn.test/"] = Page(200, body=bytes(1001))
    for limit, failure in ((1001, None), (1000, "bad_response")):
        fetched = await fetch(link, tls, "GET", "https://cdn.test/", {}, most_bytes=limit, wait_s=5)
        assert (fetched.failure and fetched.failure[0]) == failure


async def test_a_redirect_is_followed_as_get_without_the_body(
    service: Service, link: DeviceLink, tls: ssl.SSLContext
) -> None:
    service.pages["https://api.amazon.com/form"] = Page(307, {"Location": "http://cdn.test/a b?q=é"})
    fetched = await fetch(
        link, tls, "POST", "https://api.amazon.com/form", {"X": "1"}, b"secret=1", most_bytes=10, wait_s=5
    )
    assert (fetched.hops, fetched.failure) == (["api.amazon.com", "cdn.test"], None)
    method, url, headers, body = service.requests[-1]
    assert (method, headers["x"], body) == ("GET", "1", b"")
    assert url.startswith("http://cdn.test/a%20b?q=")


async def test_a_host_that_does_not_answer_is_not_waited_for(
    tls: ssl.SSLContext, link: DeviceLink, service: Service
) -> None:
    original = service._serve_one

    async def slow(*arguments: object) -> None:
        await asyncio.sleep(3)
        await original(*arguments)

    service._serve_one = slow
    began = time.perf_counter()
    fetched = await fetch(link, tls, "GET", "http://cdn.test/", {}, most_bytes=10, wait_s=0.2)
    assert fetched.failure and fetched.failure[0] == "timeout"
    assert time.perf_counter() - began < 1.5


async def test_a_certificate_of_nobody_known_is_refused(link: DeviceLink) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    fetched = await fetch(link, stranger, "GET", "https://cdn.test/", {}, most_bytes=10, wait_s=5)
    assert fetched.failure == ("tls", "no TLS with cdn.test:443: CERTIFICATE_VERIFY_FAILED")
