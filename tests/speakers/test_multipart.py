from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.model.errors import BadInput
from earwitness.speakers.multipart import Part, form_data, parse_related

RELATED = "multipart/related; boundary=b; type=application/json"


def test_form_data_is_what_a_foreign_parser_reads() -> None:
    sound = bytes(range(256)) * 3
    content_type, body = form_data(
        [("metadata", "application/json", b"{}"), ("audio", "application/octet-stream", sound)]
    )
    document = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts = list(document.iter_parts())
    assert [part.get_param("name", header="content-disposition") for part in parts] == ["metadata", "audio"]
    assert [part.get_content_type() for part in parts] == ["application/json", "application/octet-stream"]
    assert [part.get_payload(decode=True) for part in parts] == [b"{}", sound]


def test_form_data_is_deterministic_and_its_boundary_is_nowhere_in_the_content() -> None:
    content_type, body = form_data([("a", "text/plain", b"x")])
    assert (content_type, body) == form_data([("a", "text/plain", b"x")])
    boundary = content_type.partition("boundary=")[2].encode()
    assert body.count(boundary) == 2


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"--b\r\nA: 1\r\n\r\none\r\n--b--", [({"a": "1"}, b"one")]),
        (
            b"--b\r\nA: 1\r\nContent-ID: <x>\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
            [({"a": "1", "content-id": "<x>"}, b"one"), ({}, b"two")],
        ),
        (b"preamble\r\n--b  \r\nA:1\r\n\r\n\r\n--b--\r\nepilogue", [({"a": "1"}, b"")]),
        (b"\r\n--b\r\n\r\nends in a line\r\n\r\n--b--", [({}, b"ends in a line\r\n")]),
        (b"--b\r\n\r\n--bad is content, - -b as well\r\n--b--", [({}, b"--bad is content, - -b as well")]),
        (b"--b--", []),
    ],
)
def test_bodies_as_received(body: bytes, parts: list[tuple[dict[str, str], bytes]]) -> None:
    assert parse_related(RELATED, body) == [Part(headers, content) for headers, content in parts]


@pytest.mark.parametrize(
    "content_type",
    [
        'Multipart/Related; type="a;b"; boundary="b"',
        "multipart/related;boundary=b",
        'multipart/related; BOUNDARY="\\b"',
    ],
)
def test_the_boundary_is_found_however_it_is_written(content_type: str) -> None:
    assert parse_related(content_type, b"--b\r\n\r\none\r\n--b--") == [Part({}, b"one")]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/mixed; boundary=b", b"--b--"),
        ("multipart/related", b"--b--"),
        ('multipart/related; boundary=""', b"----"),
        (f"multipart/related; boundary={'b' * 71}", b"--b--"),
        (RELATED, b""),
        (RELATED, b"no boundary"),
        (RELATED, b"--b\r\nA: 1\r\n\r\ncut off"),
        (RELATED, b"--b\r\nno colon\r\n\r\none\r\n--b--"),
        (RELATED, b"--b\r\nA: 1\r\n--b--"),
        (RELATED, b"--b trailing\r\n\r\none\r\n--b\r\n"),
        (RELATED, b"--b\r\n\r\nx\r\n" * 300 + b"--b--"),
    ],
)
def test_what_is_not_multipart_is_bad_input(content_type: str, body: bytes) -> None:
    with pytest.raises(BadInput):
        parse_related(content_type, body)


@given(
    st.lists(st.sampled_from([b"--b", b"--", b"\r\n", b"\r\n\r\n", b"A: 1", b":", b"x", b"\xff"]), max_size=20).map(
        b"".join
    )
)
def test_a_body_gives_parts_or_bad_input(body: bytes) -> None:
    try:
        parts = parse_related(RELATED, body)
    except BadInput:
        return
    assert all(part.content in body for part in parts)


@given(st.text(), st.binary())
def test_a_content_type_gives_parts_or_bad_input(content_type: str, body: bytes) -> None:
    for kind in (content_type, f"multipart/related; boundary={content_type}", f"multipart/related;{content_type}"):
        try:
            parse_related(kind, body)
        except BadInput:
            continue
