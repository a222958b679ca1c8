"""One profile's interactions: its speaker, behind the router, hears what the persona's skills are asked."""

from __future__ import annotations

from datetime import UTC, datetime

from earwitness.capture import open_router
from earwitness.model.identity import row_id
from earwitness.model.network import Enrolled, Internet
from earwitness.speakers import AvsSpeaker, Spoken
from earwitness.store import Step
from earwitness.study.config import Phase, StudyFile
from earwitness.study.design import Assignment

_PAUSE_S = 0.5


async def converse(
    step: Step, study: StudyFile, phase: Phase, assignment: Assignment, account: Enrolled, internet: Internet
) -> None:
    """Idle for the phase's baseline, then say every utterance of the persona's skills; a control only idles.

    Everything that the device sends and receives is captured at the router; its key log is kept beside the capture.
    """
    capture, keys = step.partial("capture.pcap"), step.partial("tls-keys.log")
    skills = {skill.skill: skill for skill in study.skills}
    spoken: list[tuple[str, str, Spoken]] = []
    gaps: list[dict[str, object]] = []
    started = datetime.now(UTC)
    async with open_router(capture, internet, assignment.profile) as (router, captured_by):
        link = router.attach(assignment.device_mac, assignment.device_ip)
        speaker = AvsSpeaker(account, link, internet.ca_file, keys, study.platform.voice_service, assignment.seed)
        async with speaker:
            await speaker.idle(phase.idle_s)
            idle_until = datetime.now(UTC)
            for name in assignment.persona.skills:
                for utterance in skills[name].utterances:
                    answer = await speaker.say(utterance)
                    gaps += answer.gaps
                    spoken.append((name, utterance, answer))
                    await speaker.idle(_PAUSE_S)
        gaps += speaker.gaps
    if router.dropped:
        lost = f"{router.dropped} packets passed uncaptured"
        gaps.append({"stage": "capture", "subject": assignment.profile, "reason": "packets_dropped", "detail": lost})
    evidence = step.seal(capture, "capture", sensitive=True)
    if keys.exists():
        step.seal(keys, "key_log", sensitive=True)
    idle = {
        "interaction": row_id(assignment.profile, phase.phase, "idle"),
        "profile": assignment.profile,
        "phase": phase.phase,
        "started_at": started,
        "ended_at": idle_until,
        "captured_by": captured_by,
        "evidence": evidence,
    }
    step.write("interactions", [idle])
    for number, (skill, utterance, answer) in enumerate(spoken, 1):
        interaction = row_id(assignment.profile, phase.phase, number)
        step.write(
            "interactions",
            [
                {
                    "interaction": interaction,
                    "profile": assignment.profile,
                    "skill": skill,
                    "phase": phase.phase,
                    "utterance": utterance,
                    "started_at": answer.started_at,
                    "ended_at": answer.ended_at,
                    "heard": answer.heard,
                    "outcome": answer.outcome,
                    "captured_by": captured_by,
                    "evidence": evidence,
                }
            ],
        )
        for order, stream in enumerate(answer.streams, 1):
            name = row_id(interaction, order)
            heard = None
            if stream.audio:
                audio = step.partial(f"{name}.wav")
                audio.write_bytes(stream.audio)
                heard = step.seal(audio, "audio")
            step.write(
                "streams",
                [
                    {
                        "stream": name,
                        "profile": assignment.profile,
                        "interaction": interaction,
                        "url": stream.url,
                        "final_host": stream.final_host,
                        "hops": list(stream.hops),
                        "seconds": stream.seconds,
                        "evidence": heard or evidence,
                    }
                ],
            )
    step.write("gaps", gaps)
