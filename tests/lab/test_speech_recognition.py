import resource
import subprocess
import time

import numpy as np
import pytest

from earwitness.lab import speech
from earwitness.lab.speech import RATE, seconds, spoken, wav
from earwitness.lab.speech_recognition import Recogniser
from earwitness.lab.world_file import load_world
from earwitness.model.errors import MissingTool

UTTERANCES = [u.text for skill in load_world("tiny", 3).skills.values() for u in skill.utterances] + [
    "what time is it",
    "open style diary",
    "ask style diary what is new",
    "set a timer for five minutes",
    "tell me a joke",
]
STRANGERS = [
    "turn on the kitchen lights",
    "order more paper towels",
    "how tall is mount everest",
    "add milk to my shopping list",
    "ask style guru what is old",
    "good morning",
]


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser(UTTERANCES)


def as_said(text: str, *options: str, volume: float = 1.0, noise: float = 0.0) -> bytes:
    """`text` by espeak-ng with any options, brought to 16 kHz by plain interpolation, then disturbed."""
    ran = subprocess.run(["espeak-ng", "--stdout", *options, text], capture_output=True, check=True)
    samples = np.frombuffer(ran.stdout[44 : len(ran.stdout) // 2 * 2], "<i2").astype(float)
    at = np.arange(int(len(samples) * RATE / 22050)) * 22050 / RATE
    sound = np.interp(at, np.arange(len(samples)), samples) * volume
    disturbance = np.random.default_rng(1).standard_normal(len(sound)) * noise * np.sqrt((sound**2).mean())
    return (sound + disturbance).clip(-32768, 32767).astype("<i2").tobytes()


@pytest.mark.parametrize(
    ("options", "disturbed"),
    [
        (("-v", "en-us", "-s", "160"), {"volume": 0.05}),
        (("-v", "en-us", "-s", "190"), {}),
        (("-v", "en-gb", "-s", "185"), {"noise": 0.1}),
        (("-v", "en-us", "-p", "65"), {}),
        (("-v", "en-us"), {"noise": 0.2, "volume": 0.5}),
    ],
)
def test_every_known_utterance_is_recognised_however_it_is_said(recogniser, options, disturbed):
    heard = {text: recogniser.recognise(as_said(text, *options, **disturbed)) for text in UTTERANCES}
    assert {text: found for text, found in heard.items() if found != text} == {}


@pytest.mark.parametrize("voice", ["en-us", "en-gb"])
def test_strangers_are_rejected(recogniser, voice):
    assert {text: recogniser.recognise(as_said(text, "-v", voice)) for text in STRANGERS} == dict.fromkeys(STRANGERS)


def test_what_is_not_speech_is_rejected(recogniser):
    noise = np.random.default_rng(2).integers(-9000, 9000, 3 * RATE).astype("<i2").tobytes()
    tone = (8000 * np.sin(np.arange(2 * RATE) * 0.2)).astype("<i2").tobytes()
    cut_off = spoken(UTTERANCES[0])[: RATE // 2]
    for sound in (b"", b"\x01", b"\0" * 64000, noise, tone, b"\xff\x7f" * RATE, cut_off):
        assert recogniser.recognise(sound) is None


def test_pauses_around_an_utterance_do_not_matter(recogniser):
    assert recogniser.recognise(b"\0" * 20000 + spoken(UTTERANCES[4]) + b"\0" * 40001) == UTTERANCES[4]


def test_a_service_starts_and_decides_quickly():
    """Measured in processor time, ours and espeak-ng's: other work on the machine does not count."""
    unheard = [f"{text} please" for text in UTTERANCES]  # renderings are kept in the process
    began = processor_seconds()
    fresh = Recogniser(unheard)
    assert fresh.recognise(spoken(unheard[0])) == unheard[0]
    assert processor_seconds() - began < 1.5
    took = []
    for text in unheard:
        sound, began = spoken(text), time.thread_time()
        fresh.recognise(sound)
        took.append(time.thread_time() - began)
    assert np.median(took) < 0.05


def processor_seconds() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def test_among_many_utterances_only_near_ones_are_warped():
    names = ["river", "planet", "corner", "academy", "village", "companion", "harbour", "lantern"]
    many = [f"{verb} {name} {what}" for name in names for verb in ("open", "start") for what in ("report", "question")]
    recogniser = Recogniser(many)
    for text in many[::7]:
        assert recogniser.recognise(as_said(text, "-v", "en-us", "-s", "185")) == text


def test_without_utterances_nothing_is_known():
    assert Recogniser([]).recognise(spoken("what time is it")) is None


def test_speech_is_16_khz_mono_and_repeats_itself():
    sound = spoken("A rabbit eats hay all day long.")
    assert 1.5 < seconds(sound) < 4
    speech.spoken.cache_clear()
    assert spoken("A rabbit eats hay all day long.") == sound
    assert wav(sound)[:4] == b"RIFF" and wav(sound)[44:] == sound
    assert int.from_bytes(wav(sound)[24:28], "little") == 16000
    assert seconds(spoken("--version")) < 2  # spoken, not taken for an option


def test_a_missing_espeak_is_said_with_its_mend(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingTool, match=r"espeak-ng is not installed; run: apt-get install espeak-ng"):
        Recogniser(["what time is it"])
