"""What a reader can do about the findings: steps for owners, researchers and regulators, drawn from the study."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.metadata import version

from earwitness.detect import reach_query
from earwitness.report.layout import Sentence, Words
from earwitness.store import Bundle

_HOSTS_SHOWN = 200
_NAMED = 8
_TRACKERS = """
select distinct c.host from contacts c join hosts h on h.host = c.host
where h.purpose = 'advertising_tracking' and c.party <> 'platform' and c.host is not null order by all
"""
_SMALLEST = """
select max(p_attainable) as p, min(units_treated) as treated, min(units_control) as control
from tests where unit = 'profile' and registered and p_adjusted is not null
"""


@dataclass(frozen=True)
class Step:
    """One thing to do; `lines` is a list to copy, `label` what it is called, `more` what it leaves out."""

    sentence: Sentence
    lines: tuple[str, ...] = ()
    label: str = ""
    more: str = ""


@dataclass(frozen=True)
class Steps:
    """What one kind of reader can do."""

    title: str
    steps: tuple[Step, ...]


def actions(bundle: Bundle, platform: str | None) -> tuple[Steps, ...]:
    """The steps; where a study is simulated, none tells a reader to act against a real company."""
    simulated = bundle.study.get("world") is not None
    partners = _partners(bundle, platform)
    return (
        Steps("If you own a speaker", _owner(bundle, platform, simulated)),
        Steps("If you do research", _researcher(bundle)),
        Steps("If you regulate", _regulator(platform, partners)),
    )


def _owner(bundle: Bundle, platform: str | None, simulated: bool) -> tuple[Step, ...]:
    named = bundle.sql(_TRACKERS)["host"].to_pylist()
    hosts = [host for host in named if re.fullmatch(r"[a-z0-9_-]+(\.[a-z0-9_-]+)+", host)]
    who = Words(platform) if platform else Words("the platform")
    steps = [
        Step(
            (
                "Look at your own speaker first: record its traffic at your router; from the capture this says whom "
                "it talks to.",
            ),
            ("earwitness inspect FILE",),
            "Command to look at a capture",
        )
    ]
    if hosts:
        warning = " This study is simulated: check your own capture before you block any of them." if simulated else ""
        steps.append(
            Step(
                (
                    "Block the hosts below, which lists name as advertising or tracking, in your router or DNS filter, "
                    f"then try the skills that you need.{warning}",
                ),
                tuple(hosts[:_HOSTS_SHOWN]),
                "Hosts to block, one a line",
                f"{len(hosts) - _HOSTS_SHOWN:,} more are not shown here." if len(hosts) > _HOSTS_SHOWN else "",
            )
        )
    return (
        *steps,
        Step(
            (
                "Opt out with ",
                who,
                ": switch off interest-based advertising for your account and for each device, delete "
                "voice recordings, and switch off their use. Measure again afterwards: a setting is a promise, "
                "not a result.",
            )
        ),
        Step(
            (
                "Ask ",
                who,
                " for all of your data, advertising audiences and advertisers included, and keep the "
                "answer as it came. An empty file and a missing one are different findings.",
            )
        ),
        Step(("Remove skills that you do not use, and take back the permissions of those that you keep.",)),
    )


def _researcher(bundle: Bundle) -> tuple[Step, ...]:
    study = bundle.study
    world = study.get("world")
    smallest = bundle.sql(_SMALLEST).to_pylist()[0]
    design: Sentence = ("Add profiles, not iterations: the profile is the unit of every test.",)
    if smallest["p"] is not None:
        design = (
            f"Add profiles, not iterations. With {smallest['treated']} against {smallest['control']} profiles the "
            f"smallest p possible is {smallest['p']:.2g}, however large the difference.",
        )
    frozen = hashlib.sha256((bundle.directory / "study.yaml").read_bytes()).hexdigest()
    cited = [f"Earwitness {version('earwitness')}", f"study.yaml SHA-256 {frozen}"]
    if isinstance(world, dict):
        cited.append(f"world {world.get('name', 'unnamed')}, seed {world.get('seed', 'unknown')}")
    elif world is not None:
        cited.append(f"world {world}")
    return (
        Step(design),
        Step(
            ("Run it again with a fresh seed: write a study.yaml, let the plan say what it can show, then run it.",),
            ("earwitness init DIR", "earwitness plan DIR", "earwitness run DIR"),
            "Commands to run the study again",
        ),
        Step(
            ("Cite the version with the commit that you ran, the hash of study.yaml, and the seed.",),
            tuple(cited),
            "What to cite",
        ),
        Step(("Read the gaps before the findings, and report both.",)),
    )


def _regulator(platform: str | None, partners: list[str]) -> tuple[Step, ...]:
    asked: Sentence = ("No partner was seen; ask the platform whom it shares identifiers with.",)
    if partners:
        names: list[str | Words] = []
        for name in partners[:_NAMED]:
            names += [", " if names else "", Words(name)]
        more = f" and {len(partners) - _NAMED} more in the table above" if len(partners) > _NAMED else ""
        asked = (
            "Ask each partner which identifiers it sends, to whom, and on which legal ground: ",
            *names,
            f"{more}.",
        )
    return (
        Step(
            ("Let your own people verify the folder before you rely on it: it says whether anything was changed.",),
            ("earwitness verify DIR",),
            "Command to verify the folder",
        ),
        Step(asked),
        Step(
            (
                "Ask ",
                Words(platform) if platform else Words("the platform"),
                " what passes between servers: it cannot be seen from outside.",
            )
        ),
        Step(
            ("Demand the data-request archive of one of the profiles above, and compare it with what was seen here.",)
        ),
    )


def _partners(bundle: Bundle, platform: str | None) -> list[str]:
    if not platform:
        return []
    reached = bundle.sql(reach_query(platform)).to_pylist()
    return [row["organisation"] for row in reached if row["role"] == "partner" and row["organisation"]]
