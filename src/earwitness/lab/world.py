"""A world: who there is and how they behave.

This is the whole truth of a world, as `world_file.load_world` makes it from one file and a seed; what outsiders may
know of it is `catalogue.Catalogue`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from earwitness.lab.draws import whole


@dataclass(frozen=True)
class Cookie:
    """The cookie by which an organisation knows a browser: its name, the shape of its value, its domain."""

    name: str
    shape: str
    domain: str


@dataclass(frozen=True)
class Organisation:
    """A company. `real` ones bear published names and hosts; all behaviour is simulated.

    `beside` names further cookies that tell nobody apart: `constant`, `first_visit`.
    """

    key: str
    name: str
    domains: tuple[str, ...]
    cookie: Cookie | None
    real: bool
    beside: Mapping[str, str]


@dataclass(frozen=True)
class Persona:
    """A treatment, its number of profiles, and the skills that it uses."""

    name: str
    role: str
    interest: str | None
    replicates: int
    skills: tuple[str, ...]


@dataclass(frozen=True)
class Utterance:
    """What a person says to a skill, what the speaker answers, and whether the skill's stream starts.

    `answers`: it is understood only in reply to what the same skill has just asked.
    """

    text: str
    reply: str
    plays: bool
    answers: bool


@dataclass(frozen=True)
class Stream:
    """Audio behind redirects: each of `urls` answers 302 to the next, the last one with `text` as speech."""

    urls: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Skill:
    """A voice app."""

    skill: str
    name: str
    category: str
    vendor: str
    permissions: tuple[str, ...]
    policy_url: str
    utterances: tuple[Utterance, ...]
    stream: Stream | None


@dataclass(frozen=True)
class Slot:
    """An ad unit: its code on the page, its size, and each bidder's own number for it."""

    code: str
    width: int
    height: int
    placements: Mapping[str, str]


@dataclass(frozen=True)
class Site:
    """A publisher's page. `syncs_by_frame`: it lets bidders sync users by frames, else by pictures only."""

    site: str
    url: str
    host: str
    organisation: str
    rank: int
    slots: tuple[Slot, ...]
    syncs_by_frame: bool


@dataclass(frozen=True)
class Exchange:
    """A bidder that an unmodified Prebid.js adapter talks to.

    `cents`: it quotes hundredths of a dollar. `seller`: the id it gave all publishers of this world.
    `impression`: the path of its impression pixel, on the same host.
    """

    bidder: str
    organisation: str
    host: str
    path: str
    impression: str
    cents: bool
    seller: str


@dataclass(frozen=True)
class Endpoint:
    """An address at which matching happens. `answer`: frame, script or pixel; `mints`: it sets its owner's cookie."""

    name: str
    organisation: str
    host: str
    path: str
    answer: str
    mints: bool


@dataclass(frozen=True)
class Send:
    """One thing that a party makes the browser send, from endpoint to endpoint.

    `means`: redirect, image, script or frame. `carries`: the organisations whose identifiers travel.
    `carried_as`: query, path, or url (inside the full address of the send `inner`). `parameters` names the query
    parameter of each carried organisation and of each extra (consent travels under its standard names).
    """

    name: str
    source: str
    target: str
    means: str
    carries: tuple[str, ...]
    carried_as: str
    inner: str | None
    extras: tuple[str, ...]
    parameters: Mapping[str, str]
    tail: str


@dataclass(frozen=True)
class Platform:
    """The voice platform's public addresses. `device_hosts`: captive_portal, time, updates, metrics."""

    organisation: str
    sign_in: str
    home: str
    voice_service: str
    token_host: str
    ad_host: str
    device_hosts: Mapping[str, str]


@dataclass(frozen=True)
class Brand:
    """One ad of an advertiser: what it says, where it leads, and the interest that its buyer pays for; None: anybody.

    `creative` is its number at every exchange. `nested`: the ad server delivers it in a frame within its frame.
    """

    organisation: str
    interest: str | None
    text: str
    creative: str
    landing: str
    nested: bool


@dataclass(frozen=True)
class Prices:
    """The price model: base price in USD per thousand, no-bid rate, and the log-SD of each random effect."""

    base_usd: float
    no_bid_rate: float
    log_sd: Mapping[str, float]


@dataclass(frozen=True)
class Faults:
    """How often servers fail: the share of requests, and how long a slow one takes."""

    share: float
    slow_s: float


@dataclass(frozen=True)
class World:
    """Everything that a world is. Mappings are keyed by the name of what they hold.

    `uplift` is the factor on the prices of bidders that know of an interest; one of 1 is no effect of any kind.
    """

    name: str
    seed: int
    description: str
    sites_before: int
    sites_after: int
    iterations: int
    interactions_to_infer: int
    uplift: Mapping[str, float]
    auction_timeout_ms: int
    faults: Faults | None
    prices: Prices
    platform: Platform
    personas: tuple[Persona, ...]
    organisations: Mapping[str, Organisation]
    skills: Mapping[str, Skill]
    exchanges: Mapping[str, Exchange]
    sites: Mapping[str, Site]
    endpoints: Mapping[str, Endpoint]
    sends: Mapping[str, Send]
    brands: tuple[Brand, ...]
    asset_host: str
    ad_server_host: str
    creative_path: str
    picture_path: str
    inner_path: str
    consent_cookie: str
    first_visit_cookie: str
    constant: str

    @cached_property
    def hosts(self) -> dict[str, str]:
        """Every host that resolves, with the key of its organisation."""
        platform = self.platform
        found = {
            platform.voice_service: platform.organisation,
            platform.token_host: platform.organisation,
            platform.ad_host: platform.organisation,
            **dict.fromkeys(platform.device_hosts.values(), platform.organisation),
            self.asset_host: "asset_network",
            self.ad_server_host: "ad_server",
        }
        found |= {exchange.host: exchange.organisation for exchange in self.exchanges.values()}
        found |= {site.host: site.organisation for site in self.sites.values()}
        found |= {endpoint.host: endpoint.organisation for endpoint in self.endpoints.values()}
        found |= {self.home_of(brand.organisation): brand.organisation for brand in self.brands}
        vendors = {skill.policy_url.split("/")[2] for skill in self.skills.values()}
        found |= {host: self.owner_of(host) for host in vendors | self.stream_hosts}
        return dict(sorted(found.items()))

    @property
    def stream_hosts(self) -> frozenset[str]:
        """The hosts that stream audio to speakers, or redirect to those that do."""
        streams = (skill.stream for skill in self.skills.values() if skill.stream)
        return frozenset(url.split("/")[2] for stream in streams for url in stream.urls)

    def home_of(self, organisation: str) -> str:
        """The host of an organisation's own web site."""
        return f"www.{self.organisations[organisation].domains[0]}"

    def owner_of(self, host: str) -> str:
        """The key of the organisation to whose domains `host` belongs.

        Raises:
            KeyError: nobody in this world has it.
        """
        for organisation in self.organisations.values():
            if any(host == domain or host.endswith("." + domain) for domain in organisation.domains):
                return organisation.key
        raise KeyError(host)

    @cached_property
    def addresses(self) -> dict[str, str]:
        """Each host's address inside the simulated internet (shared address space, 100.64.0.0/10)."""
        taken: dict[str, str] = {}
        for host in self.hosts:
            number = whole(self.seed, "address", host) % (2**22 - 2) + 1
            while (address := _shared_address(number)) in taken.values():
                number = number % (2**22 - 2) + 1
            taken[host] = address
        return taken


def _shared_address(number: int) -> str:
    return f"100.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
