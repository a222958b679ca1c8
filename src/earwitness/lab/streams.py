"""Audio streams of skills: measurement hosts that redirect, and at the end the sound itself, spoken by espeak-ng."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from earwitness.lab.speech import spoken, wav
from earwitness.lab.world import World


@dataclass(frozen=True)
class Hop:
    """One address of a skill's stream: it redirects to `location`, or delivers the sound of `text`."""

    skill: str
    location: str | None
    text: str


def hop_at(world: World, host: str, path: str) -> Hop | None:
    """What stands at `https://host/path` (a query is ignored); None where no stream of the world passes.

    The address alone tells whose stream it is: each skill's stream has its own paths.
    """
    url = f"https://{host}{path}"
    for skill in world.skills.values():
        if skill.stream and url in skill.stream.urls:
            following = skill.stream.urls[skill.stream.urls.index(url) + 1 :]
            return Hop(skill.skill, following[0] if following else None, skill.stream.text)
    return None


async def stream_audio(text: str) -> bytes:
    """`text` as a WAV file (16 kHz, mono, 16 bit); spoken once per process, without blocking the caller's loop.

    Raises:
        MissingTool: espeak-ng is not installed.
    """
    return wav(await asyncio.to_thread(spoken, text))
