"""A speaker behind either router is seen to talk to the same hosts."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from earwitness.capture import NamespaceRouter, Router, read_capture
from earwitness.speakers import AvsSpeaker, Spoken
from tests.capture.test_namespaces import needs_namespaces
from tests.speakers.simulated_service import ENROLLED, VOICE, Page, Service, answer, play, speak
from tests.speakers.test_avs import EPISODE, UTTERANCE, on_recognize, publish_episode, wav

pytestmark = [
    needs_namespaces,
    pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"),
]


async def _conversation(folder: Path, kind: type[NamespaceRouter] | type[Router]) -> tuple[Spoken, Path]:
    folder.mkdir()
    service, pcap = Service(folder), folder / "capture.pcap"
    publish_episode(service, Page(200, {"Content-Type": "audio/wav"}, wav(2.0)))
    service.script = on_recognize(answer(*speak("Here it is."), play(EPISODE)))
    async with service.running() as internet, kind(pcap, internet, "p1") as router:
        link = router.attach(ENROLLED.device_mac, ENROLLED.device_ip)
        async with AvsSpeaker(ENROLLED, link, internet.ca_file, folder / "keys", VOICE, 7) as speaker:
            await speaker.idle(0.3)
            heard = await speaker.say(UTTERANCE)
    return heard, pcap


async def test_both_routers_see_the_same_hosts_names_and_questions(tmp_path: Path) -> None:
    (heard, namespaces), (same, userspace) = (
        await _conversation(tmp_path / "namespaces", NamespaceRouter),
        await _conversation(tmp_path / "userspace", Router),
    )
    assert heard.outcome == same.outcome == "answered"
    assert [stream.hops for stream in heard.streams] == [stream.hops for stream in same.streams]
    assert heard.streams[0].audio == same.streams[0].audio == wav(2.0)
    real, simulated = read_capture(namespaces), read_capture(userspace)
    assert (real.kind, simulated.kind) == ("pcapng", "pcap")

    def hosts(flows: list[dict[str, object]]) -> Counter[tuple[object, ...]]:
        columns = ("host", "host_source", "protocol", "client_mac", "client_ip", "server_ip", "server_port")
        named = Counter(tuple(flow[column] for column in columns) for flow in flows if flow["server_port"] != 53)
        return Counter(dict.fromkeys(named, 1))  # how often it reports home depends on the time it takes

    assert hosts(real.flows.to_pylist()) == hosts(simulated.flows.to_pylist())
    answers = [{(row["name"], row["address"]) for row in each.dns.to_pylist()} for each in (real, simulated)]
    assert answers[0] == answers[1]
    fields = ("mac", "ip", "vendor")
    assert [[device[f] for f in fields] for device in real.devices] == [
        [d[f] for f in fields] for d in simulated.devices
    ]
    assert real.gaps == simulated.gaps
