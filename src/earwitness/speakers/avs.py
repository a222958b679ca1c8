"""A virtual speaker of the Alexa Voice Service (API version 20160207, as published for device makers).

It boots, keeps a downchannel, posts metrics, sends utterances as sound and obeys the directives that come back, over
real TLS and HTTP/2 through whatever link it is given. Failures of the network or of a peer become rows for the gaps
table; nothing that was done before them is lost.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from urllib.parse import urlencode

from earwitness.model.errors import BadInput
from earwitness.model.network import DeviceLink, Enrolled
from earwitness.speakers.directives import Directive, Play, Speak, Unknown
from earwitness.speakers.http1 import fetch
from earwitness.speakers.speech import find_espeak, spoken, wav_seconds
from earwitness.speakers.transport import tls_context
from earwitness.speakers.voice_service import Failure, VoiceService

_CAPTIVE_PORTAL = "http://acsechocaptiveportal.com/generate_204"
_TIME = "https://ntp-g7g.amazon.com/time"
_UPDATES = "https://softwareupdates.amazon.com/check"
_METRICS = "https://device-metrics-us-2.amazon.com/metricsBatch"
_DEVICE_TYPE = "A32DOYMUN6DTXA"  # an Echo Dot of the third generation
_USER_AGENT = "AlexaMediaPlayer/2.1.4676.0 (Linux;Android 5.1.1) ExoPlayerLib/1.5.9"

_STREAM_WAIT_S, _HOUSEKEEPING_WAIT_S = 30.0, 10.0
_MOST_STREAM_BYTES, _MOST_HOUSEKEEPING_BYTES = 64 * 2**20, 2**20
_MOST_DIRECTIVES = 64
_METRICS_EVERY_S = (1.6, 2.4)
_LAST_METRICS_WAIT_S = 1.0

Gap = dict[str, object]
"""One row of the gaps table."""


@dataclass(frozen=True)
class StreamFetched:
    """One audio stream that the speaker was told to play.

    `hops` are the hosts asked, in order. `final_host`, `seconds` (length of the audio, s) and `audio` (the WAV file)
    are None, None and empty where the stream failed; `hops` then ends with the host that failed.
    """

    url: str
    final_host: str | None
    hops: list[str]
    seconds: float | None
    audio: bytes


@dataclass(frozen=True)
class Spoken:
    """What an utterance led to.

    `started_at` is the wake, `ended_at` the end of everything it set off (UTC); `heard` the captions of what the
    platform said, joined by blanks. `outcome` is answered, no_answer (the platform had nothing to say or play) or
    failed (the utterance was not delivered, or something that the platform ordered could not be done; `gaps` say
    what).
    """

    started_at: datetime
    ended_at: datetime
    heard: str
    outcome: str
    streams: list[StreamFetched]
    gaps: list[Gap]


class AvsSpeaker:
    """One profile's speaker; an asynchronous context manager that boots on entry and closes in order on exit.

    `gaps` holds what failed outside any utterance: at boot, in the background, on the downchannel. What arrives
    on the downchannel is for the capture alone: this device acts on the answers to its events.
    """

    def __init__(
        self, enrolled: Enrolled, link: DeviceLink, ca_file: Path, keylog: Path, voice_service: str, seed: int
    ) -> None:
        """Describe the speaker; nothing happens before entry.

        `ca_file` (PEM) is the only authority trusted; `keylog` receives the TLS secrets (NSS format, mode 0600);
        `seed` draws message ids and the jitter of the metrics.
        """
        self.gaps: list[Gap] = []
        self._enrolled, self._link, self._voice_service, self._seed = enrolled, link, voice_service, seed
        self._ca_file, self._keylog = ca_file, keylog
        self._speech_token, self._playback_token = "", ""

    async def __aenter__(self) -> AvsSpeaker:
        """Boot: captive portal, time, token, downchannel, SynchronizeState, update check; metrics beside them.

        What cannot be reached is a gap; the voice service is tried again at the next utterance.

        Raises:
            MissingTool: espeak-ng is not installed.
            OSError: the CA cannot be read or the key log not written.
        """
        find_espeak()
        self._tls: ssl.SSLContext = tls_context(self._ca_file, self._keylog, "http/1.1")
        self._voice = VoiceService(
            self._link,
            self._voice_service,
            h1_tls=self._tls,
            h2_tls=tls_context(self._ca_file, self._keylog, "h2"),
            refresh_token=self._enrolled.refresh_token,
            seed=self._seed,
            context=self._context,
            note=lambda failure: self.gaps.append(self._gap(failure)),
        )
        self._booted = time.monotonic()
        self._closing = asyncio.Event()
        self._metrics = asyncio.create_task(self._post_metrics_until_closing())
        try:
            await self._housekeep("GET", _CAPTIVE_PORTAL)
            await self._housekeep("GET", _TIME)
            try:
                await self._voice.connect()
            except Failure as failure:
                self.gaps.append(self._gap(failure))
            await self._housekeep("GET", f"{_UPDATES}?{urlencode({'serial': self._enrolled.device_serial})}")
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    async def idle(self, seconds: float) -> None:
        """Do what a speaker does when nobody talks to it: metrics, the downchannel, nothing else."""
        await asyncio.sleep(seconds)

    async def say(self, utterance: str) -> Spoken:
        """A person says `utterance` to the speaker; returns when everything that it set off is over.

        The utterance goes out as sound only. Directives are obeyed in order. Speech and streams are not waited out
        in real time: audio is fetched at once and reported as played. One utterance at a time.

        Raises:
            MissingTool: espeak-ng has gone.
        """
        self._voice.allow_reconnect()
        turn = _Turn(datetime.now(UTC), self._voice.message_id())
        recognize = {
            "profile": "CLOSE_TALK",
            "format": "AUDIO_L16_RATE_16000_CHANNELS_1",
            "initiator": {"type": "PRESS_AND_HOLD"},
        }
        await self._tell(turn, "SpeechRecognizer", "Recognize", recognize, await spoken(utterance))
        obeyed = 0
        while turn.directives:
            if obeyed == _MOST_DIRECTIVES:
                self._miss(turn, Failure(self._voice_service, "too_many_directives", f"stopped after {obeyed}"))
                break
            obeyed += 1
            match turn.directives.popleft():
                case Speak() as speak:
                    await self._speak(turn, speak)
                case Play() as play:
                    await self._play(turn, play)
                case Unknown(name):
                    failure = Failure(self._voice_service, "unknown_directive", f"{name[:80]!r} was not obeyed")
                    turn.gaps.append(self._gap(failure))
        outcome = "failed" if turn.failed else "answered" if turn.answered else "no_answer"
        return Spoken(turn.started_at, datetime.now(UTC), " ".join(turn.heard), outcome, turn.streams, turn.gaps)

    async def _speak(self, turn: _Turn, speak: Speak) -> None:
        turn.answered = True
        if speak.caption:
            turn.heard.append(speak.caption)
        if speak.audio is None:
            self._miss(turn, Failure(self._voice_service, "missing_audio", "a Speak directive came without its sound"))
        self._speech_token = speak.token
        await self._tell(turn, "SpeechSynthesizer", "SpeechStarted", {"token": speak.token})
        await self._tell(turn, "SpeechSynthesizer", "SpeechFinished", {"token": speak.token})

    async def _play(self, turn: _Turn, play: Play) -> None:
        turn.answered = True
        self._playback_token = play.token
        position = {"token": play.token, "offsetInMilliseconds": 0}
        await self._tell(turn, "AudioPlayer", "PlaybackStarted", position)
        fetched = await fetch(
            self._link,
            self._tls,
            "GET",
            play.url,
            {"User-Agent": _USER_AGENT},
            most_bytes=_MOST_STREAM_BYTES,
            wait_s=_STREAM_WAIT_S,
        )
        host = fetched.hops[-1] if fetched.hops else "stream"
        failure = fetched.failure
        seconds = 0.0
        if failure is None:
            try:
                seconds = wav_seconds(fetched.body)
            except BadInput as error:
                failure = ("not_audio", str(error))
        if failure is not None:
            turn.streams.append(StreamFetched(play.url, None, fetched.hops, None, b""))
            self._miss(turn, Failure(host, *failure))
            return
        turn.streams.append(StreamFetched(play.url, host, fetched.hops, seconds, fetched.body))
        position = {"token": play.token, "offsetInMilliseconds": round(seconds * 1000)}
        await self._tell(turn, "AudioPlayer", "PlaybackFinished", position)

    async def _tell(
        self, turn: _Turn, namespace: str, name: str, payload: Mapping[str, object], sound: bytes | None = None
    ) -> None:
        """Send an event of this turn; directives in its answer join the turn."""
        try:
            turn.directives.extend(await self._voice.post(namespace, name, payload, turn.dialog, sound))
        except Failure as failure:
            self._miss(turn, failure)

    async def _post_metrics_until_closing(self) -> None:
        jitter = random.Random(f"{self._seed}/metrics")
        while not self._closing.is_set():
            batch = {
                "deviceSerialNumber": self._enrolled.device_serial,
                "deviceType": _DEVICE_TYPE,
                "timestamp": time.time_ns() // 1_000_000,
                "metrics": [{"name": "uptimeSeconds", "value": round(time.monotonic() - self._booted, 3)}],
            }
            await self._housekeep("POST", _METRICS, json.dumps(batch).encode(), "application/json")
            try:
                async with asyncio.timeout(jitter.uniform(*_METRICS_EVERY_S)):
                    await self._closing.wait()
            except TimeoutError:
                pass

    async def _housekeep(self, method: str, url: str, body: bytes = b"", content_type: str | None = None) -> None:
        """One request of the device's own; a failure is a gap."""
        headers = {"User-Agent": _USER_AGENT}
        if content_type:
            headers["Content-Type"] = content_type
        fetched = await fetch(
            self._link,
            self._tls,
            method,
            url,
            headers,
            body,
            most_bytes=_MOST_HOUSEKEEPING_BYTES,
            wait_s=_HOUSEKEEPING_WAIT_S,
        )
        if fetched.failure:
            self.gaps.append(self._gap(Failure(fetched.hops[-1], *fetched.failure)))

    def _context(self) -> list[dict[str, object]]:
        """The device's state, which AVS wants beside every event."""
        playback = {"token": self._playback_token, "offsetInMilliseconds": 0}
        playback["playerActivity"] = "FINISHED" if self._playback_token else "IDLE"
        speech = {"token": self._speech_token, "offsetInMilliseconds": 0, "playerActivity": "FINISHED"}
        states: list[tuple[str, str, Mapping[str, object]]] = [
            ("AudioPlayer", "PlaybackState", playback),
            ("SpeechSynthesizer", "SpeechState", speech),
            ("Speaker", "VolumeState", {"volume": 50, "muted": False}),
            ("SpeechRecognizer", "RecognizerState", {"wakeword": "ALEXA"}),
        ]
        return [
            {"header": {"namespace": namespace, "name": name}, "payload": payload}
            for namespace, name, payload in states
        ]

    def _miss(self, turn: _Turn, failure: Failure) -> None:
        """Note something that the person or the platform wanted and that could not be done."""
        turn.gaps.append(self._gap(failure))
        turn.failed = True

    def _gap(self, failure: Failure) -> Gap:
        return {
            "stage": "speakers",
            "subject": f"{self._enrolled.profile}: {failure.subject}",
            "reason": failure.reason,
            "detail": failure.detail,
            "at": datetime.now(UTC),
        }

    async def _close(self) -> None:
        self._closing.set()
        await self._voice.close()
        await asyncio.wait([self._metrics], timeout=_LAST_METRICS_WAIT_S)
        if self._metrics.cancel():  # false where it had ended
            await asyncio.wait([self._metrics])
        else:
            self._metrics.result()  # raises what nobody foresaw


@dataclass
class _Turn:
    """What has come of an utterance so far."""

    started_at: datetime
    dialog: str
    directives: deque[Directive] = field(default_factory=deque)
    heard: list[str] = field(default_factory=list)
    streams: list[StreamFetched] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    answered: bool = False
    failed: bool = False
