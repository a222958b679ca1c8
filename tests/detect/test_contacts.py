"""A speaker on the router: what it does anyway, and what it does because of a skill."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.detect import contact_gaps, contacts
from earwitness.detect.windows import most_in_any, timeline
from earwitness.model.tables import TABLES

START = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)
VOICE, METRICS, STREAM = "voice.platform.example", "metrics.platform.example", "play.measure.example"
OWNERS = {VOICE: "Platform", METRICS: "Platform", STREAM: "Measure", "cdn.bramble.example": "Bramble"}
REQUEST, ANSWER, BARE = 400, 700, 66


class Speaker:
    """One device: packets at seconds since it was switched on."""

    def __init__(self, profile: str = "ann") -> None:
        self.profile = profile
        self.flows: dict[str, dict] = {}
        self.packets: list[dict] = []
        self.interactions: list[dict] = []

    def says(self, skill: str | None, start: float, end: float) -> None:
        row = {"interaction": f"i{len(self.interactions)}", "profile": self.profile, "skill": skill}
        self.interactions.append(row | {"started_at": _at(start), "ended_at": _at(end)})

    def sends(self, host: str | None, at: float, *sizes: int, flow: str | None = None, port: int = 443) -> None:
        """Packets to (positive sizes) and from (negative sizes) a host, a millisecond apart."""
        flow = f"{self.profile}-{flow or host}"
        self.flows.setdefault(
            flow,
            {
                "flow": flow,
                "capture": f"capture-{self.profile}",
                "profile": self.profile,
                "host": host,
                "server_port": port,
                "evidence": f"capture-{self.profile}",
                "locator": f"packet {len(self.packets) + 1}",
            },
        )
        for number, size in enumerate(sizes):
            when = _at(at + number / 1000)
            self.packets.append({"flow": flow, "at": when, "bytes": abs(size), "up": size > 0})

    def posts_metrics(self, start: float, end: float, every: float = 2.0) -> None:
        """What the device does all the time: a small post every two seconds."""
        for at in np.arange(start, end, every):
            self.sends(METRICS, float(at), REQUEST, REQUEST, -ANSWER)

    def keeps_voice_alive(self, start: float, end: float, every: float = 5.0) -> None:
        """A handshake at the start, then pings on the same connection."""
        self.sends(VOICE, start, 600, -1500, -1500, -900, 300)
        for at in np.arange(start + every, end, every):
            self.sends(VOICE, float(at), 105, -105)

    def speaks(self, at: float) -> None:
        """Two seconds of voice, and the spoken answer."""
        self.sends(VOICE, at, *[1514] * 45, *[-1514] * 60)


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def tables(*speakers: Speaker, skills=(), shuffle=lambda rows: rows) -> tuple:
    flows = TABLES["flows"].arrow(shuffle([flow for s in speakers for flow in s.flows.values()]))
    schema = pa.schema(
        [("flow", pa.string()), ("at", pa.timestamp("us", "UTC")), ("bytes", pa.int64()), ("up", pa.bool_())]
    )
    packets = pa.Table.from_pylist(shuffle([packet for s in speakers for packet in s.packets]), schema=schema)
    interactions = TABLES["interactions"].arrow(shuffle([row for s in speakers for row in s.interactions]))
    hosts = TABLES["hosts"].arrow(
        shuffle([{"host": host, "site": host, "organisation": owner} for host, owner in OWNERS.items()])
    )
    return flows, packets, interactions, hosts, "Platform", TABLES["skills"].arrow(skills)


def rows(*speakers: Speaker, **more) -> list[dict]:
    return contacts(*tables(*speakers, **more)).to_pylist()


def found(*speakers: Speaker, **more) -> set[tuple]:
    return {(row["skill"], row["host"]) for row in rows(*speakers, **more)}


@pytest.fixture
def ann():
    """A minute of a device that is asked twice: for a podcast, and for a fact."""
    speaker = Speaker()
    speaker.posts_metrics(0, 60)
    speaker.keeps_voice_alive(0, 60)
    speaker.says("podcast", 20, 25)
    speaker.speaks(20.5)
    speaker.sends(STREAM, 23, 600, -1514, REQUEST, *[-1514] * 40)
    speaker.says("fact", 40, 44)
    speaker.speaks(40.5)
    return speaker


def test_the_skill_gets_its_own_hosts_and_the_voice_service_but_not_the_metrics(ann):
    assert found(ann) == {
        (None, VOICE),
        (None, METRICS),
        ("podcast", VOICE),
        ("podcast", STREAM),
        ("fact", VOICE),
    }


def test_amounts_party_and_provenance(ann):
    by_key = {(row["skill"], row["host"]): row for row in rows(ann)}
    stream = by_key["podcast", STREAM]
    assert (stream["profile"], stream["party"], stream["flows"]) == ("ann", "third", 1)
    assert (stream["bytes_up"], stream["bytes_down"]) == (600 + REQUEST, 1514 * 41)
    assert stream["baseline_rate"] == 0
    assert (stream["evidence"], stream["locator"]) == ("capture-ann", ann.flows[f"ann-{STREAM}"]["locator"])
    own = by_key[None, METRICS]
    assert own["party"] == "platform"
    # 58.002 s were captured, 5.5 s and 4.5 s of them are windows; 24 of the 30 posts fall outside of these.
    assert own["bytes_up"] == 2 * REQUEST * 24
    assert own["baseline_rate"] == pytest.approx((2 * REQUEST + ANSWER) * 24 / (58.002 - 10), rel=1e-3)


def test_the_vendor_of_the_skill_is_no_third_party(ann):
    ann.sends("cdn.bramble.example", 41, 600, -1514)
    ann.sends("cdn.bramble.example", 22, 600, -1514)
    skills = [{"skill": "fact", "vendor": "bramble"}, {"skill": "podcast", "vendor": "Someone"}]
    parties = {(row["skill"], row["host"]): row["party"] for row in rows(ann, skills=skills)}
    assert parties["fact", "cdn.bramble.example"] == "vendor"
    assert parties["podcast", "cdn.bramble.example"] == "third"


def test_metrics_that_crowd_into_a_window_are_still_the_devices_own(ann):
    # One post more than any idle stretch of that length has: chance.
    ann.sends(METRICS, 21.1, REQUEST, REQUEST, -ANSWER)
    assert ("podcast", METRICS) not in found(ann)


def test_a_host_of_the_device_that_a_skill_uses_much_more_stands_out(ann):
    ann.sends(METRICS, 21.1, *[REQUEST] * 60)
    assert ("podcast", METRICS) in found(ann)


def test_a_connection_that_closes_in_another_skills_window_is_no_contact(ann):
    ann.sends(STREAM, 40.7, BARE, -BARE, BARE)
    assert ("fact", STREAM) not in found(ann)


def test_a_connection_that_closes_when_idle_is_no_idle_contact(ann):
    ann.sends(STREAM, 50, 97, -BARE, BARE)
    assert (None, STREAM) not in found(ann)
    assert ("podcast", STREAM) in found(ann)


def test_a_device_is_only_its_own_control(ann):
    ben = Speaker("ben")
    ben.posts_metrics(0, 60)
    ben.sends(STREAM, 10, 600, -1514)
    both = rows(ann, ben)
    assert {(row["profile"], row["skill"]) for row in both if row["host"] == STREAM} == {
        ("ann", "podcast"),
        ("ben", None),
    }


def test_dns_and_flows_without_a_name_are_left_out(ann):
    ann.sends("router.example", 21, 300, -300, port=53)
    ann.sends(None, 21, 300, -300, flow="unnamed")
    assert {host for _, host in found(ann)} == {VOICE, METRICS, STREAM}


def test_what_comes_just_after_an_interaction_still_belongs_to_it(ann):
    ann.sends("late.example", 25.4, 600, -1514)
    ann.sends("later.example", 25.6, 600, -1514)
    assert ("podcast", "late.example") in found(ann)
    assert (None, "later.example") in found(ann)


def test_a_window_without_enough_idle_time_is_not_judged():
    hurried = Speaker()
    hurried.keeps_voice_alive(0, 3)
    hurried.says("podcast", 2, 9)
    hurried.sends(STREAM, 8, 600, -1514)
    assert found(hurried) == {(None, VOICE)}
    (gap,) = contact_gaps(*tables(hurried)[:3])
    assert (gap["subject"], gap["reason"]) == ("ann podcast", "no_baseline")
    assert "7.5 s" in gap["detail"]


def test_enough_idle_time_leaves_no_gap(ann):
    assert contact_gaps(*tables(ann)[:3]) == []


def test_an_idle_window_is_idle(ann):
    ann.says(None, 50, 55)
    ann.sends("check.example", 52, 600, -1514)
    assert (None, "check.example") in found(ann)


def test_a_capture_of_a_single_packet():
    lone = Speaker()
    lone.sends("check.example", 0, 600)
    assert found(lone) == {(None, "check.example")}


def test_nothing_in_nothing_out():
    table = contacts(*tables())
    assert table.num_rows == 0
    assert table.schema == TABLES["contacts"].schema


def test_windows_do_not_overlap_and_idle_time_is_the_rest():
    spoken = [
        {"skill": "b", "started_at": _at(10.2), "ended_at": _at(12)},
        {"skill": "a", "started_at": _at(5), "ended_at": _at(10)},
        {"skill": None, "started_at": _at(1), "ended_at": _at(2)},
        {"skill": "c", "started_at": _at(30), "ended_at": None},
    ]
    start = int(START.timestamp() * 1e6)
    time = timeline(spoken, [(start, start + 8_000_000), (start + 11_000_000, start + 20_000_000)])
    assert [(w.skill, w.start - start, w.end - start) for w in time.windows] == [
        ("a", 5_000_000, 10_200_000),
        ("b", 10_200_000, 12_500_000),
    ]
    assert (time.idle - start).tolist() == [[0, 5_000_000], [12_500_000, 20_000_000]]
    assert time.window_of(np.array([0, 5_000_000, 10_200_000, 12_500_000]) + start).tolist() == [-1, 0, 1, -1]
    assert time.idle_clock(np.array([4_000_000, 13_500_000]) + start).tolist() == [4_000_000, 6_000_000]


def test_the_largest_window_is_found_wherever_it_lies():
    at = np.array([0, 10, 11, 12, 30])
    amount = np.array([5, 1, 1, 4, 5])
    assert most_in_any(at, amount, 3) == 6
    assert most_in_any(at, amount, 2) == 5
    assert most_in_any(at, amount, 100) == 16
    assert most_in_any(at[:0], amount[:0], 10) == 0


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random):
    speaker, other = Speaker(), Speaker("ben")
    for device in (speaker, other):
        device.posts_metrics(0, 20)
        device.keeps_voice_alive(0, 20)
        device.says("podcast", 8, 11)
        device.speaks(8.5)
        device.sends(STREAM, 9, 600, -1514, flow="s1")
        device.sends(STREAM, 10, 600, -1514, flow="s2")
    expected = contacts(*tables(speaker, other))

    def shuffled(table_rows):
        return random.sample(table_rows, len(table_rows))

    assert contacts(*tables(speaker, other, shuffle=shuffled)).equals(expected)
