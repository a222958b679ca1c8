"""What the public knows of a world: its platform, personas, skills and sites, who owns what, which hosts are blocked.

Ownership and blocking are known as they are in life, imperfectly: some owners are missing, some outdated, half of the
entries are of no use. Nothing here tells who matches users with whom, who bids more, or who shows an effect.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from earwitness.lab.draws import shuffled
from earwitness.lab.naming import Namer
from earwitness.lab.world import Persona, World
from earwitness.lab.world_file import load_world

MISSING_SHARE = 0.1


@dataclass(frozen=True)
class PublicPlatform:
    """The voice platform as its customers know it."""

    organisation: str
    sign_in: str
    voice_service: str
    ad_host: str


@dataclass(frozen=True)
class PublicSkill:
    """A skill as the store shows it."""

    skill: str
    name: str
    category: str
    vendor: str
    permissions: tuple[str, ...]
    policy_url: str
    utterances: tuple[str, ...]


@dataclass(frozen=True)
class PublicSite:
    """A page that can be visited."""

    site: str
    url: str
    rank: int


@dataclass(frozen=True)
class Catalogue:
    """Everything about a world that a study may know.

    `ownership_list` is JSON in DuckDuckGo's entity format, `filter_list` in Adblock Plus syntax. `sites_before`,
    `sites_after` and `iterations` are the sizes of the world's own study.
    """

    world: str
    seed: int
    ownership_list: str
    filter_list: str
    platform: PublicPlatform
    personas: tuple[Persona, ...]
    skills: tuple[PublicSkill, ...]
    sites: tuple[PublicSite, ...]
    sites_before: int
    sites_after: int
    iterations: int


def catalogue(world: str, seed: int) -> Catalogue:
    """The public facts of a world under a seed.

    Raises:
        BadStudy: there is no such world.
    """
    found = load_world(world, seed)
    platform = found.platform
    return Catalogue(
        world=world,
        seed=seed,
        ownership_list=_ownership_list(found),
        filter_list=_filter_list(found),
        platform=PublicPlatform(
            found.organisations[platform.organisation].name,
            platform.sign_in,
            platform.voice_service,
            platform.ad_host,
        ),
        personas=found.personas,
        skills=tuple(
            PublicSkill(
                skill.skill,
                skill.name,
                skill.category,
                skill.vendor,
                skill.permissions,
                skill.policy_url,
                tuple(utterance.text for utterance in skill.utterances),
            )
            for skill in found.skills.values()
        ),
        sites=tuple(PublicSite(site.site, site.url, site.rank) for site in found.sites.values()),
        sites_before=found.sites_before,
        sites_after=found.sites_after,
        iterations=found.iterations,
    )


def describe(world: str, seed: int) -> dict[str, object]:
    """A world in a few lines: what it is for and how large it is."""
    found = load_world(world, seed)
    return {
        "world": world,
        "seed": seed,
        "description": found.description,
        "personas": [
            {"name": each.name, "role": each.role, "interest": each.interest, "profiles": each.replicates}
            for each in found.personas
        ],
        "profiles": sum(each.replicates for each in found.personas),
        "skills": len(found.skills),
        "sites": [site.url for site in found.sites.values()],
        "bidders": sorted(found.exchanges),
        "organisations": len(found.organisations),
        "hosts": len(found.hosts),
        "sites_before": found.sites_before,
        "sites_after": found.sites_after,
        "iterations": found.iterations,
    }


class _Decoys:
    """Parties that are in the lists and nowhere else."""

    def __init__(self, world: World) -> None:
        self._namer = Namer(world.seed)
        self._taken = {domain for each in world.organisations.values() for domain in each.domains}

    def party(self, *key: object) -> tuple[str, str]:
        """The name and the domain of one."""
        for attempt in range(1000):
            stem = self._namer.stem("decoy", attempt, *key)
            if f"{stem}.example" not in self._taken:
                return self._namer.company(stem, "decoy", *key), f"{stem}.example"
        raise ValueError("no free name is left")


def _ownership_list(world: World) -> str:
    decoys = _Decoys(world)
    fictional = [each for each in world.organisations.values() if not each.real]
    order = shuffled(world.seed, fictional, "ownership list")
    missing = round(MISSING_SHARE * len(fictional))
    outdated = order[missing]
    entities = {each.name: list(each.domains) for each in world.organisations.values() if each.real}
    entities |= {each.name: list(each.domains) for each in order[missing + 1 :]}
    entities[decoys.party("former owner")[0]] = list(outdated.domains)
    for index in range(len(entities)):
        name, domain = decoys.party("owner", index)
        entities[name] = [domain]
    return json.dumps({name: {"properties": entities[name]} for name in sorted(entities)}, indent=1)


def _filter_list(world: World) -> str:
    decoys = _Decoys(world)
    candidates = _tracker_domains(world)
    fictional = [domain for domain in candidates if domain.endswith(".example")]
    unlisted = set(shuffled(world.seed, fictional, "filter list")[: max(1, round(MISSING_SHARE * len(fictional)))])
    rules = [f"||{domain}^$third-party" for domain in candidates if domain not in unlisted]
    rules += [f"||{decoys.party('rule', index)[1]}^$third-party" for index in range(len(rules))]
    header = ["[Adblock Plus 2.0]", "! Title: Trackers of a simulated world"]
    return "\n".join([*header, *sorted(rules)]) + "\n"


def _tracker_domains(world: World) -> list[str]:
    """What a well-kept list would block: advertising and matching, measurement in front of streams, device metrics."""
    owners = [each.organisation for each in world.exchanges.values()]
    owners += [each.organisation for each in world.endpoints.values()]
    owners.append("ad_server")
    ad_cookie = world.organisations[world.platform.organisation].cookie
    assert ad_cookie is not None
    measuring = (world.owner_of(skill.stream.urls[0].split("/")[2]) for skill in world.skills.values() if skill.stream)
    listed = [ad_cookie.domain, world.platform.device_hosts["metrics"]]
    for key in dict.fromkeys([*owners, *measuring]):
        if key != world.platform.organisation:
            listed += world.organisations[key].domains
    return listed
