"""The platform's voice service: Alexa Voice Service over HTTP/2, as published for device makers (v20160207).

It hears an utterance as sound, recognises it (`speech_recognition`), tells the platform's memory, and answers with
directives: `Speak`, and `Play` for skills that stream. The truth notes for each request whose skill it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from earwitness.lab.draws import identifier
from earwitness.lab.http2 import Answer, Request, ServerConnection
from earwitness.lab.multipart import compose_related, parse_form
from earwitness.lab.received_data import DataField, data_in_event
from earwitness.lab.speech import spoken, wav
from earwitness.lab.speech_recognition import Recogniser
from earwitness.lab.truth import now_us
from earwitness.model.errors import BadInput

if TYPE_CHECKING:
    from earwitness.lab.platform_state import PlatformState
    from earwitness.lab.truth import Truth
    from earwitness.lab.world import Skill, Utterance, World

_DIRECTIVES, _EVENTS = "/v20160207/directives", "/v20160207/events"
_AUDIO_FORMAT = "AUDIO_L16_RATE_16000_CHANNELS_1"
_TIME_QUESTION = "what time is it"
_NOT_UNDERSTOOD = "Sorry, I don't know that one."


@dataclass(frozen=True)
class _Outcome:
    """What a request led to: the answer, the skill that it was for, and the personal data that it held."""

    answer: Answer
    skill: str | None = None
    data: list[DataField] = field(default_factory=list)


@dataclass(frozen=True)
class _Event:
    """A device's event as parsed: its names, ids and payload, and the sound that came with it."""

    name: str
    message_id: str
    dialog: str | None
    payload: Mapping[str, Any]
    sound: bytes | None
    data: list[DataField]


class VoiceService:
    """Answers the requests of all speakers of a world; one per lab."""

    def __init__(self, world: World, truth: Truth, state: PlatformState) -> None:
        """Begin to learn the world's utterances.

        Raises:
            MissingTool: espeak-ng is not installed.
        """
        self._world, self._truth, self._state = world, truth, state
        self._grammar: dict[str, tuple[Skill, Utterance]] = {
            utterance.text: (skill, utterance) for skill in world.skills.values() for utterance in skill.utterances
        }
        self._recogniser = Recogniser([*self._grammar, _TIME_QUESTION])
        self._skill_of_token: dict[str, str] = {}
        self._skill_in_dialogue: dict[str, str] = {}

    async def answer(self, profile: str, request: Request) -> Answer:
        """Answer one request; `profile` is whose connection it came on, for the truth alone.

        The truth gets one row of `truth_requests` and of `truth_speaker` (sizes are those of the bodies, without
        headers and TLS), and a row of `truth_data` for each personal datum. No token is written.
        """
        at = now_us()
        outcome = await self._outcome(request)
        host = self._world.platform.voice_service
        answer = outcome.answer
        self._truth.write(
            "truth_requests",
            at=at,
            profile=profile,
            visit_site=None,
            host=host,
            method=request.method,
            url=f"https://{host}{request.path}",
            status=answer.status,
            cookie_header=None,
            set_cookie=[],
            body_sha256=hashlib.sha256(request.body).hexdigest(),
            kind="voice",
        )
        self._truth.write(
            "truth_speaker",
            at=at,
            profile=profile,
            skill=outcome.skill,
            host=host,
            bytes_up=len(request.body),
            bytes_down=len(answer.body),
        )
        for data_type, path in outcome.data:
            self._truth.write("truth_data", at=at, profile=profile, host=host, data_type=data_type, field=path)
        return answer

    async def _outcome(self, request: Request) -> _Outcome:
        if request.authority.partition(":")[0].lower() != self._world.platform.voice_service:
            return _Outcome(Answer(421))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        account = self._state.account_of_access_token(token.strip())
        if scheme.lower() != "bearer" or account is None:
            return _Outcome(_exception(401, "UNAUTHORIZED_REQUEST_EXCEPTION", "a valid bearer token"))
        match request.method, request.path:
            case "GET", path if path == _DIRECTIVES:
                boundary = self._id("downchannel", account, str(now_us()))
                return _Outcome(Answer(200, _related(boundary), stays_open=True))
            case "POST", path if path == _EVENTS:
                try:
                    event = _parse_event(request)
                except BadInput as error:
                    return _Outcome(_exception(400, "INVALID_REQUEST_EXCEPTION", str(error)))
                return await self._after(event, account)
        return _Outcome(Answer(404))

    async def _after(self, event: _Event, account: str) -> _Outcome:
        """What an event leads to. Events that report playback belong to the skill whose token they name."""
        if event.name != "SpeechRecognizer.Recognize":
            token = event.payload.get("token")
            skill_id = self._skill_of_token.get(token) if isinstance(token, str) else None
            return _Outcome(Answer(204), skill_id, event.data)
        if event.sound is None or event.payload.get("format") != _AUDIO_FORMAT:
            wanted = f"an audio part in the format {_AUDIO_FORMAT}"
            return _Outcome(_exception(400, "INVALID_REQUEST_EXCEPTION", wanted), None, event.data)
        text = await asyncio.to_thread(self._recogniser.recognise, event.sound)
        if text is None or text not in self._grammar:
            reply = f"It is {datetime.now(UTC):%H:%M}." if text else _NOT_UNDERSTOOD
            return _Outcome(await self._directives(event, account, reply, None, False), None, event.data)
        skill, utterance = self._grammar[text]
        before = self._skill_in_dialogue.pop(account, None)
        if utterance.answers and before != skill.skill:
            return _Outcome(await self._directives(event, account, _NOT_UNDERSTOOD, None, False), None, event.data)
        self._skill_in_dialogue[account] = skill.skill
        self._state.interaction(account, skill.skill, text, now_us())
        answer = await self._directives(event, account, utterance.reply, skill, utterance.plays)
        return _Outcome(answer, skill.skill, event.data)

    async def _directives(self, event: _Event, account: str, reply: str, skill: Skill | None, plays: bool) -> Answer:
        """`Speak` with `reply`, and `Play` with the skill's stream where it `plays`."""

        def mint(what: str) -> str:
            return self._id(what, account, event.message_id)

        def directive(namespace: str, name: str, payload: dict[str, Any]) -> dict[str, Any]:
            header = {"namespace": namespace, "name": name, "messageId": mint(f"{name} message")}
            if event.dialog:
                header["dialogRequestId"] = event.dialog
            return {"directive": {"header": header, "payload": payload}}

        content_id, token = mint("sound"), mint("speech")
        documents = [
            directive(
                "SpeechSynthesizer",
                "Speak",
                {
                    "url": f"cid:{content_id}",
                    "format": "AUDIO_WAV",
                    "token": token,
                    "caption": {"content": reply, "type": "TEXT"},
                },
            )
        ]
        if skill:
            self._skill_of_token[token] = skill.skill
        if skill and skill.stream and plays:
            token = mint("playback")
            self._skill_of_token[token] = skill.skill
            stream = {"url": skill.stream.urls[0], "token": token, "offsetInMilliseconds": 0}
            item = {"audioItemId": mint("item"), "stream": stream}
            payload = {"playBehavior": "REPLACE_ALL", "audioItem": item}
            documents.append(directive("AudioPlayer", "Play", payload))
        sound = wav(await asyncio.to_thread(spoken, reply))
        boundary = mint("boundary")
        return Answer(200, _related(boundary), compose_related(boundary, documents, {content_id: sound}))

    def _id(self, *what: str) -> str:
        return identifier(self._world.seed, "uuid", "voice", *what)


class VoiceServer:
    """The running service: one listener per profile, and the connections that they took."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._connections: dict[ServerConnection, asyncio.Task[Any] | None] = {}

    async def listen(self, service: VoiceService, profile: str, at: socket.socket, tls: ssl.SSLContext) -> None:
        """Serve the connections of `profile`, which arrive at the bound and listening socket `at`."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
                writer.close()
                return
            connection = ServerConnection(reader, writer, partial(service.answer, profile))
            self._connections[connection] = asyncio.current_task()
            try:
                await connection.run()
            finally:
                del self._connections[connection]

        self._servers.append(await asyncio.start_server(serve, sock=at, ssl=tls))

    async def close(self) -> None:
        """Stop listening and end all connections, downchannels included."""
        for server in self._servers:
            server.close()
        serving = [task for task in self._connections.values() if task]
        for connection in list(self._connections):
            await connection.close()
        await asyncio.gather(*serving, return_exceptions=True)


async def serve_voice(
    world: World,
    truth: Truth,
    state: PlatformState,
    listeners: Mapping[str, socket.socket],
    tls: ssl.SSLContext,
) -> VoiceServer:
    """Start the voice service.

    `listeners` holds, by profile, a bound and listening socket; `tls` is a server context that offers ALPN h2. The
    profile of a connection is that of its listener, and goes into the truth alone: accounts come from bearer tokens.

    Raises:
        MissingTool: espeak-ng is not installed.
    """
    service, server = VoiceService(world, truth, state), VoiceServer()
    for profile, at in listeners.items():
        await server.listen(service, profile, at, tls)
    return server


def _parse_event(request: Request) -> _Event:
    """The event in a request.

    Raises:
        BadInput: the body is not multipart with a metadata document as AVS has it.
    """
    fields = parse_form(request.headers.get("content-type", ""), request.body)
    try:
        metadata = json.loads(fields["metadata"].content)
        event = metadata["event"]
        header, payload = event["header"], event["payload"]
        name, message_id = f"{header['namespace']}.{header['name']}", str(header["messageId"])
        dialog = header.get("dialogRequestId")
        if not isinstance(payload, dict):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadInput("event", "metadata", "an event with header and payload") from None
    sound = fields["audio"].content if "audio" in fields else None
    data = data_in_event(metadata, sound is not None)
    return _Event(name, message_id, dialog, payload, sound, data)


def _related(boundary: str) -> str:
    return f"multipart/related; boundary={boundary}; type=application/json"


def _exception(status: int, code: str, expected: str) -> Answer:
    """An answer that says what is wrong, as AVS does (System.Exception)."""
    header = {"namespace": "System", "name": "Exception"}
    payload = {"code": code, "description": f"expected {expected}"}
    body = json.dumps({"header": header, "payload": payload}).encode()
    return Answer(status, "application/json", body)
