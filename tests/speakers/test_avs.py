"""The virtual speaker against a simulated service, over the router's real sockets and real TLS."""

from __future__ import annotations

import asyncio
import io
import shutil
import stat
import subprocess
import time
import wave
from collections import Counter
from pathlib import Path

import pytest

from earwitness.capture.router import Router
from earwitness.model.errors import MissingTool
from earwitness.model.network import DeviceLink, Internet
from earwitness.model.tables import TABLES
from earwitness.speakers import AvsSpeaker
from earwitness.speakers.speech import spoken
from tests.speakers.simulated_service import (
    ENROLLED,
    REFRESH_TOKEN,
    TOKEN,
    VOICE,
    Answer,
    Event,
    Page,
    Service,
    answer,
    directive,
    play,
    speak,
)

pytestmark = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

UTTERANCE = "alexa, open style daily"
EPISODE = "https://measure.test/redirect.wav/traffic.test/episode.wav?device=abc"


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(16_000)
        audio.writeframes(bytes(int(seconds * 32_000)))
    return file.getvalue()


def publish_episode(service: Service, audio: Page) -> None:
    """An episode behind two measurement hosts."""
    service.pages["https://measure.test/redirect.wav/traffic.test/episode.wav"] = Page(
        302, {"Location": "https://traffic.test/episode.wav?from=measure"}
    )
    service.pages["https://traffic.test/episode.wav"] = Page(302, {"Location": "//cdn.test/e/1.wav"})
    service.pages["https://cdn.test/e/1.wav"] = audio


def on_recognize(answered: Answer) -> object:
    return lambda event: answered if event.name == "SpeechRecognizer.Recognize" else Answer()


def speaker_on(link: DeviceLink, internet: Internet, tmp_path: Path) -> AvsSpeaker:
    return AvsSpeaker(ENROLLED, link, internet.ca_file, tmp_path / "keys.log", VOICE, seed=7)


@pytest.fixture
def speaker(link: DeviceLink, internet: Internet, tmp_path: Path) -> AvsSpeaker:
    return speaker_on(link, internet, tmp_path)


def tshark(pcap: Path, keys: Path, where: str, *fields: str) -> set[tuple[str, ...]]:
    command = ["tshark", "-n", "-r", str(pcap), "-o", f"tls.keylog_file:{keys}", "-Y", where, "-T", "fields"]
    command += [argument for field in fields for argument in ("-e", field)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cut short" not in ran.stderr
    return {tuple(line.split("\t")) for line in ran.stdout.splitlines()}


async def test_boot_does_what_devices_do(speaker: AvsSpeaker, service: Service, tmp_path: Path) -> None:
    async with speaker:
        assert service.downchannels == 1
        assert service.event_names() == ["System.SynchronizeState"]
        assert service.events[0].authorization == f"Bearer {TOKEN}"
    assert speaker.gaps == []
    assert set(service.urls()) == {
        "http://acsechocaptiveportal.com/generate_204",
        "https://ntp-g7g.amazon.com/time",
        "https://api.amazon.com/auth/O2/token",
        "https://softwareupdates.amazon.com/check?serial=G0SERIAL",
        "https://device-metrics-us-2.amazon.com/metricsBatch",
    }
    token = next(body for _, url, _, body in service.requests if url.endswith("/token"))
    assert b"grant_type=refresh_token" in token
    assert stat.S_IMODE((tmp_path / "keys.log").stat().st_mode) == 0o600


async def test_an_utterance_is_answered_and_its_stream_fetched(speaker: AvsSpeaker, service: Service) -> None:
    episode = wav(2.5)
    publish_episode(service, Page(200, {"Content-Type": "audio/wav"}, episode))
    long_speech = bytes(300_000)  # more than the flow-control window
    service.script = on_recognize(answer(*speak("Welcome to style daily.", long_speech), play(EPISODE)))
    async with speaker:
        began = time.perf_counter()
        said = await speaker.say(UTTERANCE)
        assert time.perf_counter() - began < 1.5
    assert (said.outcome, said.heard, said.gaps, speaker.gaps) == ("answered", "Welcome to style daily.", [], [])
    assert said.started_at < said.ended_at and said.started_at.tzinfo is not None
    [stream] = said.streams
    assert (stream.url, stream.final_host) == (EPISODE, "cdn.test")
    assert stream.hops == ["measure.test", "traffic.test", "cdn.test"]
    assert (stream.seconds, stream.audio) == (2.5, episode)
    assert service.event_names()[1:] == [
        "SpeechRecognizer.Recognize",
        "SpeechSynthesizer.SpeechStarted",
        "SpeechSynthesizer.SpeechFinished",
        "AudioPlayer.PlaybackStarted",
        "AudioPlayer.PlaybackFinished",
    ]
    headers = [event.metadata["event"]["header"] for event in service.events[1:]]
    assert len({header["dialogRequestId"] for header in headers}) == 1
    assert len({header["messageId"] for header in headers}) == 5


async def test_the_utterance_crosses_the_wire_as_sound_only(speaker: AvsSpeaker, service: Service) -> None:
    async with speaker:
        await speaker.say(UTTERANCE)
    recognize = service.events[1]
    assert recognize.audio == await spoken(UTTERANCE)
    assert recognize.metadata["event"]["payload"]["format"] == "AUDIO_L16_RATE_16000_CHANNELS_1"
    assert "style daily" not in str([event.metadata for event in service.events])


async def test_directives_are_obeyed_in_order_also_those_of_later_answers(
    speaker: AvsSpeaker, service: Service
) -> None:
    publish_episode(service, Page(200, body=wav(1)))

    def script(event: Event) -> Answer:
        if event.name == "SpeechRecognizer.Recognize":
            return answer(*speak("First."), play(EPISODE), directive("Alexa.Novelty", "Dance", {}))
        return answer(*speak("Second.")) if event.name == "AudioPlayer.PlaybackFinished" else Answer()

    service.script = script
    async with speaker:
        said = await speaker.say(UTTERANCE)
    assert (said.heard, said.outcome) == ("First. Second.", "answered")
    assert [(gap["reason"], gap["detail"]) for gap in said.gaps] == [
        ("unknown_directive", "'Alexa.Novelty.Dance' was not obeyed")
    ]


async def test_a_service_that_never_stops_ordering_is_stopped(speaker: AvsSpeaker, service: Service) -> None:
    service.script = lambda event: answer(*speak("Again.")) if "Synchronize" not in event.name else Answer()
    async with speaker:
        said = await speaker.say(UTTERANCE)
    assert said.outcome == "failed"
    assert said.gaps[-1]["reason"] == "too_many_directives"


async def test_nothing_to_say_is_no_answer(speaker: AvsSpeaker, service: Service) -> None:
    async with speaker:
        said = await speaker.say(UTTERANCE)
    assert (said.outcome, said.heard, said.streams, said.gaps) == ("no_answer", "", [], [])


@pytest.mark.parametrize(
    ("page", "url", "reason", "hops"),
    [
        (Page(404), EPISODE, "status", ["measure.test", "traffic.test", "cdn.test"]),
        (Page(200, body=b"<html>"), EPISODE, "not_audio", ["measure.test", "traffic.test", "cdn.test"]),
        (Page(200, body=wav(0)), EPISODE, "not_audio", ["measure.test", "traffic.test", "cdn.test"]),
        (
            Page(200, body=wav(9), broken=True),
            EPISODE,
            "bad_response",
            ["measure.test", "traffic.test", "cdn.test"],
        ),
        (Page(200, {"Transfer-Encoding": "x"}), EPISODE, "bad_response", ["measure.test", "traffic.test", "cdn.test"]),
        (Page(302, {"Location": "https://nowhere.test/"}), EPISODE, "no_address", None),
        (Page(302, {"Location": "ftp://cdn.test/"}), EPISODE, "bad_response", None),
        (Page(302, {"Location": "https://cdn.test:4443/"}), EPISODE, "refused", None),
        (Page(302, {"Location": "https://203.0.113.200/"}), EPISODE, "refused", None),
        (Page(302, {"Location": "https://203.0.113.9/"}), EPISODE, "tls", None),
        (Page(302, {"Location": "/e/1.wav"}), EPISODE, "too_many_redirects", None),
        (Page(), "cid:nothing", "bad_response", []),
        (Page(), "https://[bad/", "bad_response", []),
    ],
)
async def test_a_failed_stream_is_a_gap_and_the_rest_goes_on(
    speaker: AvsSpeaker, service: Service, page: Page, url: str, reason: str, hops: list[str] | None
) -> None:
    publish_episode(service, page)
    service.script = on_recognize(answer(play(url), *speak("And now the news.")))
    async with speaker:
        said = await speaker.say(UTTERANCE)
    assert (said.outcome, said.heard) == ("failed", "And now the news.")
    [gap] = said.gaps
    assert gap["reason"] == reason
    [stream] = said.streams
    assert (stream.url, stream.final_host, stream.seconds, stream.audio) == (url, None, None, b"")
    assert stream.hops[: len(hops)] == hops if hops is not None else len(stream.hops) > 2
    assert "AudioPlayer.PlaybackFinished" not in service.event_names()
    TABLES["gaps"].arrow(said.gaps)  # what the store will do with them


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        (Answer(500), "status"),
        (Answer(200, "text/html", b"<h1>sorry</h1>"), "bad_response"),
        (Answer(200, "multipart/related; boundary=next", b"--next\r\n"), "bad_response"),
        (answer(("application/json", "", b'{"directive": {}}')), "bad_response"),
        (Answer(0), "reset"),
    ],
)
async def test_a_failed_answer_is_a_gap_and_the_next_utterance_works(
    speaker: AvsSpeaker, service: Service, answered: Answer, reason: str
) -> None:
    service.script = on_recognize(answered)
    async with speaker:
        failed = await speaker.say(UTTERANCE)
        service.script = on_recognize(answer(*speak("Hello.")))
        worked = await speaker.say(UTTERANCE)
    assert (failed.outcome, [gap["reason"] for gap in failed.gaps]) == ("failed", [reason])
    assert (worked.outcome, worked.heard) == ("answered", "Hello.")


@needs_tshark
async def test_a_service_that_dies_in_mid_answer_leaves_gaps_and_a_readable_capture(
    internet: Internet, service: Service, tmp_path: Path, pcap: Path
) -> None:
    service.script = on_recognize(Answer(-1))
    began = time.perf_counter()
    async with (
        Router(pcap, internet, "p1") as router,
        speaker_on(router.attach(ENROLLED.device_mac, ENROLLED.device_ip), internet, tmp_path) as speaker,
    ):
        failed = await speaker.say(UTTERANCE)
        again = await speaker.say(UTTERANCE)
    assert time.perf_counter() - began < 5
    assert (failed.outcome, [gap["reason"] for gap in failed.gaps]) == ("failed", ["reset"])
    assert (again.outcome, [gap["reason"] for gap in again.gaps]) == ("failed", ["refused"])
    assert [gap["reason"] for gap in speaker.gaps] == ["downchannel_lost", "refused"]
    assert service.event_names().count("SpeechRecognizer.Recognize") == 1, "nothing is said twice"
    paths = tshark(pcap, tmp_path / "keys.log", "http2.headers.path", "http2.headers.path")
    assert ("/v20160207/events",) in paths


async def test_a_broken_connection_is_made_again_once(speaker: AvsSpeaker, service: Service) -> None:
    service.script = on_recognize(answer(*speak("Hello.")))
    async with speaker:
        service.hang_up()
        await asyncio.sleep(0.3)
        assert (service.downchannels, service.event_names()) == (2, ["System.SynchronizeState"] * 2)
        service.hang_up()
        await asyncio.sleep(0.3)
        assert service.downchannels == 2, "once"
        assert (await speaker.say(UTTERANCE)).outcome == "answered"
        assert service.downchannels == 3, "an utterance tries again"
    assert [gap["reason"] for gap in speaker.gaps] == ["downchannel_lost"] * 2


async def test_a_downchannel_that_ends_is_opened_again_on_the_same_connection(
    speaker: AvsSpeaker, service: Service
) -> None:
    service.script = on_recognize(answer(*speak("Hello.")))
    async with speaker:
        service.end_downchannels()
        await asyncio.sleep(0.2)
        assert service.downchannels == 2
        assert len(service._voice_connections) == 1
        assert (await speaker.say(UTTERANCE)).outcome == "answered"
    assert [gap["reason"] for gap in speaker.gaps] == ["downchannel_lost"]


async def test_a_speaker_without_a_token_says_so(speaker: AvsSpeaker, service: Service) -> None:
    service.pages["https://api.amazon.com/auth/O2/token"] = Page(200, body=b'{"access_token": 5}')
    async with speaker:
        said = await speaker.say(UTTERANCE)
    assert said.outcome == "failed"
    assert [gap["reason"] for gap in [*speaker.gaps, *said.gaps]] == ["bad_response"] * 2
    assert service.events == []


async def test_metrics_go_out_about_every_two_seconds(speaker: AvsSpeaker, service: Service) -> None:
    async with speaker:
        await speaker.idle(4.6)
        posted = service.urls().count("https://device-metrics-us-2.amazon.com/metricsBatch")
    assert posted == 3, "at boot, after 1.6 to 2.4 s, and again"


@needs_tshark
async def test_the_capture_names_every_host_and_the_key_log_opens_it(
    internet: Internet, service: Service, tmp_path: Path, pcap: Path
) -> None:
    publish_episode(service, Page(200, body=wav(1)))
    service.script = on_recognize(answer(*speak("Hello."), play(EPISODE)))
    keys = tmp_path / "keys.log"
    async with (
        Router(pcap, internet, "p1") as router,
        speaker_on(router.attach(ENROLLED.device_mac, ENROLLED.device_ip), internet, tmp_path) as speaker,
    ):
        await speaker.say(UTTERANCE)
    hosts = {
        "acsechocaptiveportal.com",
        "ntp-g7g.amazon.com",
        "api.amazon.com",
        "softwareupdates.amazon.com",
        "device-metrics-us-2.amazon.com",
        VOICE,
        "measure.test",
        "traffic.test",
        "cdn.test",
    }
    assert {name for (name,) in tshark(pcap, keys, "dns.a", "dns.qry.name")} == hosts
    names = {name for (name,) in tshark(pcap, keys, "tls.handshake.type == 1", "tls.handshake.extensions_server_name")}
    assert names == hosts - {"acsechocaptiveportal.com"}
    assert ("acsechocaptiveportal.com",) in tshark(pcap, keys, "http.request", "http.host")
    requests = tshark(pcap, keys, "http2.headers.path", "http2.headers.authority", "http2.headers.path")
    assert {paths for _, paths in requests} >= {"/v20160207/events", "/v20160207/directives"}
    assert ("measure.test", "/redirect.wav/traffic.test/episode.wav?device=abc") in tshark(
        pcap, keys, "http.request", "http.host", "http.request.uri"
    )
    assert tshark(pcap, keys, "tcp.analysis.flags", "frame.number") == set()
    closing = Counter(tshark_flags(pcap))
    assert closing["S"] == closing["AS"] > 8
    assert "AR" not in closing and closing["AF"] == 2 * closing["S"], "every connection ends in order"


def tshark_flags(pcap: Path) -> list[str]:
    command = ["tshark", "-n", "-r", str(pcap), "-Y", "tcp.flags.syn==1||tcp.flags.fin==1||tcp.flags.reset==1"]
    ran = subprocess.run([*command, "-T", "fields", "-e", "tcp.flags.str"], capture_output=True, text=True, check=True)
    return [line.replace("·", "").replace("P", "") for line in ran.stdout.splitlines()]


async def test_secrets_stay_secret(speaker: AvsSpeaker, service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.script = on_recognize(Answer(403))
    async with speaker:
        said = await speaker.say(UTTERANCE)
        service.hang_up()
        await asyncio.sleep(0.1)
    shown = f"{said!r} {speaker!r} {speaker.gaps!r} {caplog.text}"
    assert "failed" in shown
    assert not [secret for secret in (TOKEN, REFRESH_TOKEN, ENROLLED.password) if secret in shown]


async def test_the_seed_alone_draws_the_identifiers(internet: Internet, service: Service, tmp_path: Path) -> None:
    seen = []
    for number in range(2):
        async with (
            Router(tmp_path / f"{number}.pcap", internet, "p1") as router,
            speaker_on(router.attach(ENROLLED.device_mac, ENROLLED.device_ip), internet, tmp_path) as speaker,
        ):
            await speaker.say(UTTERANCE)
        seen.append([event.metadata["event"]["header"]["messageId"] for event in service.events])
        service.events.clear()
    assert seen[0] == seen[1]


async def test_without_espeak_the_mend_is_named(speaker: AvsSpeaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingTool, match=r"apt-get install .*espeak-ng"):
        await speaker.__aenter__()
