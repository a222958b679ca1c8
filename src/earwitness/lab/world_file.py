"""From one file and a seed to a world: every name, host, path, parameter and placement is drawn by keyed hash."""

from __future__ import annotations

import importlib.resources
from functools import cache, cached_property
from typing import Any

import yaml

from earwitness.lab.draws import identifier, shuffled, whole
from earwitness.lab.naming import Namer
from earwitness.lab.world import (
    Brand,
    Cookie,
    Endpoint,
    Exchange,
    Faults,
    Organisation,
    Persona,
    Platform,
    Prices,
    Send,
    Site,
    Skill,
    Slot,
    Stream,
    Utterance,
    World,
)
from earwitness.model.errors import BadStudy


def worlds() -> list[str]:
    """The names of the worlds that come with the package."""
    found = importlib.resources.files("earwitness.lab").joinpath("worlds").iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in found if entry.name.endswith(".yaml"))


def load_world(name: str, seed: int) -> World:
    """The world `name` as it is under `seed`.

    Raises:
        BadStudy: there is no such world.
    """
    if name not in worlds():
        raise BadStudy("world", f"there is no world {name!r}; there are: {', '.join(worlds())}")
    return _Builder(_specification(name), name, seed).world()


@cache
def _specification(name: str) -> dict[str, Any]:
    """The parsed file of a world; nobody changes it."""
    text = importlib.resources.files("earwitness.lab").joinpath("worlds", f"{name}.yaml").read_text(encoding="utf-8")
    parsed: dict[str, Any] = yaml.safe_load(text)
    if like := parsed.pop("like", None):
        return _over(_specification(like), parsed)
    return parsed


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, which reach into nested mappings and replace everything else."""
    changed = {
        key: _over(base[key], value) if isinstance(value, dict) and key in base else value
        for key, value in changes.items()
    }
    return {**base, **changed}


class _Builder:
    """Turns the parsed file into a `World`; names are drawn in the order of the file."""

    def __init__(self, spec: dict[str, Any], name: str, seed: int) -> None:
        self.spec, self.name, self.seed = spec, name, seed
        self.namer = Namer(seed)
        self.organisations = {entry["key"]: self._organisation(entry) for entry in spec["organisations"]}

    def world(self) -> World:
        spec = self.spec
        skills = {skill.skill: skill for skill in self._skills()}
        endpoints = self._endpoints()
        ad_server = self._host("ad_server", "one", 0)
        inference, plan, prices = spec["inference"], spec["plan"], spec["prices"]
        return World(
            name=self.name,
            seed=self.seed,
            description=spec["description"],
            sites_before=plan["sites_before"],
            sites_after=plan["sites_after"],
            iterations=plan["iterations"],
            interactions_to_infer=inference["interactions"],
            uplift=inference["uplift"],
            auction_timeout_ms=spec.get("auction_timeout_ms", 1500),
            faults=Faults(**spec["faults"]) if "faults" in spec else None,
            prices=Prices(prices["base_usd"], prices["no_bid_rate"], prices["log_sd"]),
            platform=Platform(**spec["platform"]),
            personas=tuple(self._persona(entry, skills) for entry in spec["personas"]),
            organisations=self.organisations,
            skills=skills,
            exchanges={entry["bidder"]: self._exchange(entry) for entry in spec["exchanges"]},
            sites={site.site: site for site in map(self._site, spec["sites"])},
            endpoints=endpoints,
            sends={entry["name"]: self._send(entry, endpoints) for entry in spec["sends"]},
            brands=tuple(map(self._brand, spec["brands"])),
            asset_host=self._host("asset_network", "one", 0),
            ad_server_host=ad_server,
            creative_path=self.namer.path(ad_server, "creative"),
            picture_path=self.namer.path(ad_server, "picture"),
            inner_path=self.namer.path(ad_server, "inner"),
            consent_cookie="euconsent-v2",
            first_visit_cookie=self.namer.cookie("first visit"),
            constant=identifier(self.seed, "hex16", "constant"),
        )

    def _organisation(self, entry: dict[str, Any]) -> Organisation:
        key = entry["key"]
        if real := "name" in entry:
            name, domains = entry["name"], tuple(entry["domains"])
        else:
            stems = [self.namer.stem(key, index) for index in range(entry.get("domain_count", 1))]
            name, domains = self.namer.company(stems[0], key), tuple(f"{stem}.example" for stem in stems)
        cookie = None
        if given := entry.get("cookie"):
            cookie_name = given.get("name") or self.namer.cookie(key)
            cookie = Cookie(cookie_name, given["shape"], given.get("domain", domains[0]))
        beside = {what: self.namer.cookie(key, what) for what in entry.get("beside", ())}
        return Organisation(key, name, domains, cookie, real, beside)

    def _host(self, organisation: str, label: str, domain: int) -> str:
        under = self.organisations[organisation].domains[domain]
        key = (organisation, label, domain)
        if key not in self._hosts:
            self._hosts[key] = f"{self.namer.label(under, *key)}.{under}"
        return self._hosts[key]

    @cached_property
    def _hosts(self) -> dict[tuple[str, str, int], str]:
        return {}

    def _skills(self) -> list[Skill]:
        names = {
            interest: list(
                zip(
                    *(shuffled(self.seed, words, "skill", interest, place) for place, words in enumerate(lists)),
                    strict=True,
                )
            )
            for interest, lists in self.spec["skill_names"].items()
        }
        return [
            self._skill(entry, index, names[entry["interest"]].pop()) for index, entry in enumerate(self.spec["skills"])
        ]

    def _skill(self, entry: dict[str, Any], index: int, words: tuple[str, ...]) -> Skill:
        name = " ".join(words)
        vendor = self.organisations[entry["vendor"]]
        host = f"www.{vendor.domains[0]}"
        stream = None
        if hosts := entry.get("stream"):
            episode = identifier(self.seed, "hex16", "episode", index)
            # A measurement prefix names in its path the address that it will send the player to.
            paths = ["/".join((*hosts[place + 1 :], f"{episode}.wav")) for place in range(len(hosts))]
            stream = Stream(tuple(f"https://{at}/{path}" for at, path in zip(hosts, paths, strict=True)), entry["text"])
        return Skill(
            skill=f"amzn1.ask.skill.{identifier(self.seed, 'uuid', 'skill', index)}",
            name=name.title(),
            category=entry["interest"],
            vendor=vendor.name,
            permissions=tuple(entry["permissions"]),
            policy_url=f"https://{host}{self.namer.path(host, 'policy', index)}",
            utterances=tuple(
                Utterance(
                    given["say"].format(name=name),
                    given["reply"].format(name=name),
                    given.get("plays", False),
                    given.get("answers", False),
                )
                for given in entry["utterances"]
            ),
            stream=stream,
        )

    def _persona(self, entry: dict[str, Any], skills: dict[str, Skill]) -> Persona:
        interest = entry.get("interest")
        used = tuple(skill.skill for skill in skills.values() if skill.category == interest)
        return Persona(entry["name"], entry["role"], interest, entry["replicates"], used)

    def _exchange(self, entry: dict[str, Any]) -> Exchange:
        return Exchange(
            bidder=entry["bidder"],
            organisation=entry["organisation"],
            host=entry["host"],
            path=entry["path"],
            impression=self.namer.path(entry["host"], "impression"),
            cents=entry["currency_unit"] == "cents",
            seller=self._seller(entry["bidder"]),
        )

    def _seller(self, bidder: str) -> str:
        """The bidder's own id of all publishers of this world: a UUID at openx, elsewhere a number."""
        if bidder == "openx":
            return identifier(self.seed, "uuid", "seller", bidder)
        return str(10_000 + whole(self.seed, "seller", bidder) % 90_000)

    def _brand(self, entry: dict[str, Any]) -> Brand:
        organisation, text = entry["organisation"], entry["text"]
        home = f"www.{self.organisations[organisation].domains[0]}"
        return Brand(
            organisation=organisation,
            interest=entry.get("interest"),
            text=text,
            creative=identifier(self.seed, "digits", "creative", organisation, text)[:9],
            landing=f"https://{home}{self.namer.path(home, 'landing', text)}",
            nested=entry.get("nested", False),
        )

    def _site(self, entry: dict[str, Any]) -> Site:
        owner = self.organisations[entry["publisher"]]
        stem = owner.domains[0].split(".")[0]
        host = f"www.{owner.domains[0]}"
        slots = tuple(
            Slot(
                code=f"{self.namer.segment(owner.key, 'slot')}-{place + 1}",
                width=width,
                height=height,
                placements={
                    exchange["bidder"]: str(
                        10**8 + whole(self.seed, "placement", owner.key, place, exchange["bidder"]) % 10**8
                    )
                    for exchange in self.spec["exchanges"]
                },
            )
            for place, (width, height) in enumerate(entry.get("slots", self.spec["slots"]))
        )
        by_frame = entry.get("syncs", "frame") == "frame"
        return Site(stem, f"https://{host}/", host, owner.key, entry["rank"], slots, by_frame)

    def _endpoints(self) -> dict[str, Endpoint]:
        made = {}
        for entry in self.spec["endpoints"]:
            name, owner = entry["name"], entry["organisation"]
            host = entry.get("host") or self._host(owner, entry["label"], entry.get("domain", 0))
            path = entry.get("path") or self.namer.path(host, name)
            if entry["answer"] == "script":
                path += ".js"
            made[name] = Endpoint(name, owner, host, path, entry["answer"], entry.get("mints", True))
        return made

    def _send(self, entry: dict[str, Any], endpoints: dict[str, Endpoint]) -> Send:
        name, target = entry["name"], entry["to"]
        carried_as, extras = entry.get("as", "query"), tuple(entry.get("with", ()))
        carries = tuple(entry.get("carries", ()))
        named = {"query": carries, "path": (), "url": ("url",)}[carried_as]
        scope = endpoints[target].host + endpoints[target].path
        return Send(
            name=name,
            source=entry["from"],
            target=target,
            means=entry["means"],
            carries=carries,
            carried_as=carried_as,
            inner=entry.get("inner"),
            extras=extras,
            parameters={
                what: self.namer.parameter(scope, name, what) for what in (*named, *extras) if what != "consent"
            },
            tail=self.namer.segment(name, "tail"),
        )
