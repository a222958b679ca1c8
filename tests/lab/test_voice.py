import asyncio
import contextlib
import io
import json
import socket
import ssl
import wave
from email.message import Message
from email.parser import BytesParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.lab.certificates import Authority
from earwitness.lab.multipart import parse_form
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.speech import spoken
from earwitness.lab.truth import Truth, read_journal
from earwitness.lab.voice import serve_voice
from earwitness.lab.world_file import load_world
from earwitness.model.errors import BadInput
from earwitness.model.network import Enrolled

from .h2_client import Client

WORLD = load_world("tiny", 11)
DEMO = load_world("demo", 11)
HOST = WORLD.platform.voice_service
ANNA = Enrolled("p-anna", "anna@mail.example", "pw", "G0SERIAL1", "Atzr|one", "02:00:00:00:00:01", "10.0.0.1")
BEN = Enrolled("p-ben", "ben@mail.example", "pw", "G0SERIAL2", "Atzr|two", "02:00:00:00:00:02", "10.0.0.2")
EVENTS, DIRECTIVES = "/v20160207/events", "/v20160207/directives"
STREAMING = next(skill for skill in WORLD.skills.values() if skill.stream)
SILENT = next(skill for skill in WORLD.skills.values() if not skill.stream)


class Service:
    """The voice service on a loopback port for each of two profiles, with its truth."""

    async def __aenter__(self):
        self.truth = Truth(self.directory)
        self.state = PlatformState(self.world, self.truth, [ANNA, BEN])
        self.authority = Authority(self.directory)
        sockets = {}
        for one in (ANNA, BEN):
            sockets[one.profile] = socket.create_server(("127.0.0.1", 0))
            sockets[one.profile].setblocking(False)
        self.ports = {profile: at.getsockname()[1] for profile, at in sockets.items()}
        tls = self.authority.server_context([HOST], "h2")
        self.server = await serve_voice(self.world, self.truth, self.state, sockets, tls)
        return self

    async def __aexit__(self, *_):
        await self.server.close()
        self.state.close()
        self.truth.close()

    def __init__(self, directory, world=WORLD):
        self.directory, self.world = directory, world

    async def client(self, one=ANNA):
        return await Client.open(self.ports[one.profile], HOST, self.authority.ca_file)

    def bearer(self, one=ANNA):
        return {"authorization": f"Bearer {self.state.access_token(one.account)}"}

    def rows(self, table, *columns):
        entries = read_journal(self.directory / "journal.jsonl")
        return [tuple(entry["row"][name] for name in columns) for entry in entries if entry["table"] == table]


@pytest.fixture
async def service(tmp_path):
    async with Service(tmp_path) as running:
        yield running


def event(name, payload, sound=None, context=(), dialog="dialog-1", message="message-1"):
    namespace, _, what = name.partition(".")
    header = {"namespace": namespace, "name": what, "messageId": message, "dialogRequestId": dialog}
    metadata = {"context": list(context), "event": {"header": header, "payload": payload}}
    parts = [("metadata", "application/json; charset=UTF-8", json.dumps(metadata).encode())]
    if sound is not None:
        parts.append(("audio", "application/octet-stream", sound))
    body = b"".join(
        f'--b0\r\nContent-Disposition: form-data; name="{part}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for part, kind, content in parts
    )
    return {"content-type": "multipart/form-data; boundary=b0"}, body + b"--b0--\r\n"


def recognize(text, message="message-1"):
    payload = {"profile": "CLOSE_TALK", "format": "AUDIO_L16_RATE_16000_CHANNELS_1"}
    return event("SpeechRecognizer.Recognize", payload, spoken(text), message=message)


async def tell(service, client, made, one=ANNA):
    headers, body = made
    return await client.ask("POST", EVENTS, service.bearer(one) | headers, body)


def directives_of(reply):
    """The directives and the attachments by content id, read by the standard library's own parser."""
    head = f"Content-Type: {reply.headers['content-type']}\r\n\r\n".encode()
    parts = [part for part in BytesParser().parsebytes(head + reply.body).walk() if not part.is_multipart()]
    documents = [json.loads(_content(part)) for part in parts if part.get_content_type() == "application/json"]
    sounds = {part["Content-ID"].strip("<>"): _content(part) for part in parts if part["Content-ID"]}
    return [document["directive"] for document in documents], sounds


def _content(part: Message) -> bytes:
    return part.get_payload(decode=True)


async def test_every_skill_answers_with_speech_and_streaming_ones_play(service):
    async with await service.client() as client:
        for skill in WORLD.skills.values():
            for number, utterance in enumerate(skill.utterances):
                made = recognize(utterance.text, message=f"{skill.skill}{number}")
                reply = await tell(service, client, made)
                assert reply.status == 200
                assert reply.headers["content-type"].startswith("multipart/related; boundary=")
                (speak, *rest), sounds = directives_of(reply)
                assert speak["header"]["namespace"] == "SpeechSynthesizer" and speak["header"]["name"] == "Speak"
                assert speak["header"]["dialogRequestId"] == "dialog-1"
                assert speak["payload"]["caption"]["content"] == utterance.reply
                with wave.open(io.BytesIO(sounds[speak["payload"]["url"].removeprefix("cid:")])) as sound:
                    assert sound.getframerate() == 16000 and sound.getnframes() > 8000
                played = [(d["header"]["name"], d["payload"]["audioItem"]["stream"]["url"]) for d in rest]
                assert played == ([("Play", skill.stream.urls[0])] if utterance.plays else [])


async def test_another_voice_and_noise_are_understood_and_strangers_are_not(service):
    sound = np.frombuffer(spoken(SILENT.utterances[0].text, "en-gb"), "<i2") * 0.2
    sound = sound + np.random.default_rng(4).standard_normal(len(sound)) * sound.std() * 0.1
    payload = {"format": "AUDIO_L16_RATE_16000_CHANNELS_1"}
    async with await service.client() as client:
        made = event("SpeechRecognizer.Recognize", payload, sound.astype("<i2").tobytes())
        (speak,), _ = directives_of(await tell(service, client, made))
        assert speak["payload"]["caption"]["content"] == SILENT.utterances[0].reply
        (speak,), _ = directives_of(await tell(service, client, recognize("how tall is mount everest")))
        assert speak["payload"]["caption"]["content"] == "Sorry, I don't know that one."
        (speak,), _ = directives_of(await tell(service, client, recognize("what time is it")))
        assert speak["payload"]["caption"]["content"].startswith("It is ")
    assert service.rows("truth_speaker", "skill") == [(SILENT.skill,), (None,), (None,)]


async def test_the_truth_says_whose_skill_each_request_was(service):
    async with await service.client() as client:
        downchannel = await client.start("GET", DIRECTIVES, service.bearer())
        await asyncio.wait_for(downchannel.started.wait(), 5)
        assert (await tell(service, client, event("System.SynchronizeState", {}))).status == 204
        playing = next(utterance for utterance in STREAMING.utterances if utterance.plays)
        asked = recognize(playing.text)
        answer = await tell(service, client, asked)
        (speak, play), _ = directives_of(answer)
        stream_token = play["payload"]["audioItem"]["stream"]["token"]
        for name, token in (
            ("SpeechSynthesizer.SpeechStarted", speak["payload"]["token"]),
            ("SpeechSynthesizer.SpeechFinished", speak["payload"]["token"]),
            ("AudioPlayer.PlaybackStarted", stream_token),
            ("AudioPlayer.PlaybackFinished", stream_token),
            ("AudioPlayer.PlaybackFinished", "unheard-of"),
        ):
            assert (await tell(service, client, event(name, {"token": token}))).status == 204
        assert not downchannel.ended.is_set()
    mine, none = (ANNA.profile, STREAMING.skill, HOST), (ANNA.profile, None, HOST)
    assert service.rows("truth_speaker", "profile", "skill", "host") == [none, none, *[mine] * 5, none]
    sizes = service.rows("truth_speaker", "bytes_up", "bytes_down")
    assert sizes[0] == (0, 0) and sizes[2] == (len(asked[1]), len(answer.body))
    requests = service.rows("truth_requests", "method", "url", "status", "kind")
    assert requests[0] == ("GET", f"https://{HOST}{DIRECTIVES}", 200, "voice")
    assert [row[2] for row in requests] == [200, 204, 200, 204, 204, 204, 204, 204]


async def test_enough_interactions_make_an_interest_for_that_account_alone(service):
    async with await service.client() as anna, await service.client(BEN) as ben:
        await tell(service, anna, recognize(STREAMING.utterances[0].text))
        await tell(service, ben, recognize(STREAMING.utterances[0].text), BEN)
        await tell(service, ben, recognize("what time is it"), BEN)
        assert service.rows("truth_interests", "profile") == []
        await tell(service, anna, recognize(SILENT.utterances[0].text))
    assert service.rows("truth_interests", "profile", "interest") == [(ANNA.profile, STREAMING.category)]


async def test_the_truth_names_the_data_that_were_really_sent(service):
    context = [
        {"header": {"namespace": "Speaker", "name": "VolumeState"}, "payload": {"volume": 50, "muted": False}},
    ]
    payload = {"format": "AUDIO_L16_RATE_16000_CHANNELS_1"}
    made = event("SpeechRecognizer.Recognize", payload, spoken(SILENT.utterances[0].text), context)
    async with await service.client() as client:
        await tell(service, client, made)
        assert set(service.rows("truth_data", "profile", "host", "data_type", "field")) == {
            (ANNA.profile, HOST, "user_identifier", "header.authorization"),
            (ANNA.profile, HOST, "voice_recording", "audio"),
            (ANNA.profile, HOST, "speaker_event", "metadata.context[0]"),
            (ANNA.profile, HOST, "volume", "metadata.context[0].payload.volume"),
            (ANNA.profile, HOST, "mute_flag", "metadata.context[0].payload.muted"),
        }
        await tell(service, client, event("System.SynchronizeState", {}))
        assert service.rows("truth_data", "data_type")[5:] == [("user_identifier",), ("system_event",)]


async def test_without_a_valid_token_nobody_is_served(service):
    headers, body = recognize(SILENT.utterances[0].text)
    async with await service.client() as client:
        for given in ({}, {"authorization": "Bearer Atza|made-up"}, {"authorization": "Basic YTpi"}):
            assert (await client.ask("GET", DIRECTIVES, given)).status == 401
            reply = await client.ask("POST", EVENTS, given | headers, body)
            assert reply.status == 401
            assert json.loads(reply.body)["payload"]["code"] == "UNAUTHORIZED_REQUEST_EXCEPTION"
    assert set(service.rows("truth_speaker", "skill")) == {(None,)}
    assert service.rows("truth_interests", "profile") == []


async def test_no_token_is_written_anywhere(service):
    async with await service.client() as client:
        await tell(service, client, recognize(SILENT.utterances[0].text))
    secrets = [service.state.access_token(ANNA.account), ANNA.refresh_token]
    for path in service.directory.iterdir():
        assert not any(secret.encode() in path.read_bytes() for secret in secrets), path


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=b0", b""),
        ("multipart/form-data; boundary=b0", b"--b0\r\n\r\n\r\n--b0--"),
        ("multipart/form-data", recognize("what time is it")[1]),
        ("application/json", b"{}"),
        ("multipart/form-data; boundary=b0", event("X.Y", {})[1].replace(b'"event"', b'"other"')),
        ("multipart/form-data; boundary=b0", event("X.Y", [])[1]),
        ("multipart/form-data; boundary=b0", event("SpeechRecognizer.Recognize", {"format": "OPUS"}, b"\0\0")[1]),
        ("multipart/form-data; boundary=b0", event("SpeechRecognizer.Recognize", {})[1]),
    ],
)
async def test_a_wrong_event_is_refused_and_the_connection_goes_on(service, content_type, body):
    async with await service.client() as client:
        reply = await client.ask("POST", EVENTS, service.bearer() | {"content-type": content_type}, body)
        assert reply.status == 400
        assert (await tell(service, client, event("System.SynchronizeState", {}))).status == 204


async def test_other_addresses_are_not_served(service):
    async with await service.client() as client:
        assert (await client.ask("GET", "/", service.bearer())).status == 404
        assert (await client.ask("GET", EVENTS, service.bearer())).status == 404
        other = service.bearer() | {":authority": "www.example.com"}
        assert (await client.ask("GET", DIRECTIVES, other)).status == 421


async def test_bodies_larger_than_the_windows_pass_and_huge_ones_are_refused(service):
    async with await service.client() as client:
        payload = {"format": "AUDIO_L16_RATE_16000_CHANNELS_1"}
        made = event("SpeechRecognizer.Recognize", payload, spoken("how tall is mount everest") + b"\0" * 400_000)
        reply = await tell(service, client, made)
        assert reply.status == 200
        playing = next(utterance for utterance in STREAMING.utterances if utterance.plays)
        assert len((await tell(service, client, recognize(playing.text))).body) > 40_000
        reply = await client.ask("POST", EVENTS, service.bearer(), b"\0" * (5 << 20))
        assert reply.status == 0  # the stream was reset
        assert (await tell(service, client, event("System.SynchronizeState", {}))).status == 204


async def test_many_requests_at_once_are_answered(service):
    async with await service.client() as client:
        made = [recognize(WORLD.skills[skill].utterances[0].text, message=skill) for skill in WORLD.skills]
        replies = await asyncio.gather(*(tell(service, client, each) for each in made * 5))
        assert {reply.status for reply in replies} == {200}


async def test_garbage_ends_its_own_connection_only(service):
    tls = ssl.create_default_context(cafile=str(service.authority.ca_file))
    tls.set_alpn_protocols(["h2"])
    async with await service.client() as healthy:
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        for garbage in (b"GET / HTTP/1.1\r\n\r\n" * 2, preface + b"\0" * 100, preface + b"\xff" * 17_000_000):
            port = service.ports[ANNA.profile]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=HOST)
            writer.write(garbage)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 5)  # until the server hangs up
            writer.close()
        assert (await tell(service, healthy, event("System.SynchronizeState", {}))).status == 204


async def test_closing_ends_the_downchannels(tmp_path):
    async with Service(tmp_path) as service:
        client = await service.client()
        downchannel = await client.start("GET", DIRECTIVES, service.bearer())
        await asyncio.wait_for(downchannel.started.wait(), 5)
        assert downchannel.status == 200 and not client.lost.is_set()
        await asyncio.wait_for(service.server.close(), 5)
        await asyncio.wait_for(client.lost.wait(), 5)
        await client.__aexit__()
        with pytest.raises(OSError):
            await service.client()


def test_a_form_is_read_as_browsers_write_it():
    body = b'preamble\r\n--x\r\ncontent-disposition: form-data; name="a"\r\n\r\none\r\n--x \r\n'
    body += b'Content-Type: Text/Plain; charset=x\r\nContent-Disposition: form-data; name="b"; filename="f"\r\n\r\n'
    body += b"\r\n--y\r\n\0\xff\r\n--x--\r\nepilogue"
    fields = parse_form('multipart/form-data; boundary="x"', body)
    assert {name: (one.content_type, one.content) for name, one in fields.items()} == {
        "a": ("text/plain", b"one"),
        "b": ("text/plain", b"\r\n--y\r\n\0\xff"),
    }


_PIECES = [b"--b0", b"--", b"\r\n", b'Content-Disposition: form-data; name="m"', b"content-type: \xff;=", b":", b"\0"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=20).map(b"".join) | st.binary(max_size=80), st.text(max_size=20))
def test_a_form_is_read_or_refused(body, extra):
    for content_type in ("multipart/form-data; boundary=b0", f"multipart/form-data; boundary={extra}", extra):
        with contextlib.suppress(BadInput):
            parse_form(content_type, body)


async def test_an_answer_is_understood_only_by_the_skill_that_has_just_asked(tmp_path):
    skill = next(each for each in DEMO.skills.values() if each.utterances[-1].answers)
    other = next(each for each in DEMO.skills.values() if each.stream)
    opening, answer = skill.utterances
    async with Service(tmp_path, DEMO) as service:
        client = await service.client()

        async def said(text, message):
            reply = await tell(service, client, recognize(text, message))
            return directives_of(reply)[0][0]["payload"]["caption"]["content"]

        unasked = await said(answer.text, "m1")
        assert unasked != answer.reply
        assert await said(opening.text, "m2") == opening.reply
        assert await said(answer.text, "m3") == answer.reply
        assert await said(opening.text, "m4") == opening.reply
        assert await said(other.utterances[0].text, "m5") == other.utterances[0].reply
        assert await said(answer.text, "m6") == unasked
        rows = service.rows("truth_speaker", "skill")
    assert rows == [(None,), (skill.skill,), (skill.skill,), (skill.skill,), (other.skill,), (None,)]
