import io
import wave

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from earwitness.lab.device_services import answer_device
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.speech import spoken
from earwitness.lab.streams import hop_at
from earwitness.lab.truth import Truth, read_journal
from earwitness.lab.world_file import load_world
from earwitness.model.network import Enrolled

WORLD = load_world("tiny", 5)
ANNA = Enrolled("p-anna", "anna@mail.example", "pw", "G0SERIAL1", "Atzr|one", "02:00:00:00:00:01", "10.0.0.1")
HOSTS = WORLD.platform.device_hosts
STREAMING = [skill for skill in WORLD.skills.values() if skill.stream]


class Device:
    """A speaker's requests to a real HTTP server that asks `answer_device`; the Host header says whom it means."""

    def __init__(self, directory, client, state):
        self.directory, self.client, self.state = directory, client, state

    async def ask(self, method, url, **options):
        _, _, host, path = url.split("/", 3)
        return await self.client.request(method, f"/{path}", headers={"Host": host}, allow_redirects=False, **options)

    def rows(self, table, *columns):
        entries = read_journal(self.directory / "journal.jsonl")
        return [tuple(entry["row"][name] for name in columns) for entry in entries if entry["table"] == table]


@pytest.fixture
async def device(tmp_path):
    truth = Truth(tmp_path)
    state = PlatformState(WORLD, truth, [ANNA])

    async def handle(request):
        return await answer_device(request, ANNA.profile, await request.read(), WORLD, truth, state)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    async with TestClient(TestServer(app)) as client:
        yield Device(tmp_path, client, state)
    state.close()
    truth.close()


async def test_a_stream_leads_over_measurement_hosts_to_the_sound_of_its_text(device):
    assert len(STREAMING) == 2
    for skill in STREAMING:
        url, passed = skill.stream.urls[0], []
        while True:
            passed.append(url)
            answer = await device.ask("GET", url)
            if answer.status != 302:
                break
            url = answer.headers["Location"]
        assert tuple(passed) == skill.stream.urls and len(passed) == 3
        assert answer.status == 200 and answer.content_type == "audio/wav"
        with wave.open(io.BytesIO(await answer.read())) as sound:
            assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
            assert 3 < sound.getnframes() / 16000 < 12
            assert sound.readframes(sound.getnframes()) == spoken(skill.stream.text)
    expected = [(ANNA.profile, skill.skill, url.split("/")[2]) for skill in STREAMING for url in skill.stream.urls]
    assert device.rows("truth_speaker", "profile", "skill", "host") == expected
    down = [size for (size,) in device.rows("truth_speaker", "bytes_down")]
    assert min(down[2], down[5]) > 90_000 and down[:2] == [0, 0]


async def test_only_the_streams_of_the_world_are_there(device):
    host = STREAMING[0].stream.urls[0].split("/")[2]
    assert (await device.ask("GET", f"https://{host}/other.wav")).status == 404
    assert device.rows("truth_speaker", "skill", "host") == [(None, host)]
    assert hop_at(WORLD, "dts.podtrac.example", "/") is None


@pytest.mark.parametrize("encoding", ["data", "json"])
async def test_a_refresh_token_buys_an_access_token(device, encoding):
    asked = {"grant_type": "refresh_token", "refresh_token": ANNA.refresh_token, "client_id": "c"}
    url = f"https://{WORLD.platform.token_host}/auth/O2/token"
    answer = await device.ask("POST", url, **{encoding: asked})
    granted = await answer.json()
    assert granted["token_type"] == "bearer" and granted["expires_in"] == 3600
    assert device.state.account_of_access_token(granted["access_token"]) == ANNA.account
    for wrong in ({"refresh_token": "made-up"}, {"grant_type": "password"}):
        refused = await device.ask("POST", url, **{encoding: asked | wrong})
        assert refused.status == 400 and "error" in await refused.json()
    assert set(device.rows("truth_speaker", "skill", "host")) == {(None, WORLD.platform.token_host)}
    assert set(device.rows("truth_data", "data_type", "field")) == {("user_identifier", "body.refresh_token")}
    journal = (device.directory / "journal.jsonl").read_text()
    assert ANNA.refresh_token not in journal and granted["access_token"] not in journal


async def test_the_device_is_kept_house_for(device):
    portal = await device.ask("GET", f"http://{HOSTS['captive_portal']}/generate_204")
    assert (portal.status, await portal.read()) == (204, b"")
    now = await device.ask("GET", f"https://{HOSTS['time']}/time")
    assert now.status == 200 and now.headers["Date"].endswith("GMT")
    assert (await device.ask("GET", f"https://{HOSTS['updates']}/check?serial=G0SERIAL1")).status == 204
    batch = {"deviceSerialNumber": "G0SERIAL1", "metrics": [{"name": "uptime", "value": 2}]}
    assert (await device.ask("POST", f"https://{HOSTS['metrics']}/metricsBatch", json=batch)).status == 204
    assert device.rows("truth_speaker", "skill", "host") == [
        (None, HOSTS[name]) for name in ("captive_portal", "time", "updates", "metrics")
    ]
    assert device.rows("truth_data", "host", "data_type", "field") == [
        (HOSTS["updates"], "device_identifier", "query.serial"),
        (HOSTS["metrics"], "device_identifier", "body.deviceSerialNumber"),
    ]


async def test_what_a_device_would_not_ask_is_refused(device):
    assert (await device.ask("GET", f"https://{HOSTS['time']}/generate_204")).status == 404
    assert (await device.ask("GET", f"https://{HOSTS['metrics']}/metricsBatch")).status == 404
    for body in (b"", b"\xff{", b"[" * 100_000, b"[]"):
        url = f"https://{HOSTS['metrics']}/metricsBatch"
        _, _, host, path = url.split("/", 3)
        headers = {"Host": host, "Content-Type": "application/json"}
        answer = await device.client.post(f"/{path}", data=body, headers=headers)
        assert answer.status == 400
