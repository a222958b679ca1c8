"""Enrolled profiles, and clients that reach a running lab as browsers do."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import aiohttp
import pyarrow.parquet as pq
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from earwitness.lab import Lab, seal, start
from earwitness.lab.world import World
from earwitness.lab.world_file import load_world
from earwitness.model.network import Enrolled, Internet


def enrol(count: int) -> list[Enrolled]:
    return [
        Enrolled(
            profile=f"profile-{number}",
            account=f"person{number}@mail.example",
            password=f"correct horse {number}",
            device_serial=f"G0{number:06}",
            refresh_token=f"Atzr|refresh-{number}-secret",
            device_mac=f"02:00:00:00:00:{number:02x}",
            device_ip=f"10.0.0.{number}",
        )
        for number in range(1, count + 1)
    ]


@pytest.fixture
def enrolled() -> list[Enrolled]:
    return enrol(3)


@dataclass(frozen=True)
class Running:
    """A running lab and where it writes its truth."""

    lab: Lab
    directory: Path
    people: Iterator[Enrolled]


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One lab for many tests; each takes a person of its own."""
    directory, people = tmp_path_factory.mktemp("lab") / "truth", enrol(40)
    with start("tiny", 1, directory, people) as lab:
        yield Running(lab, directory, iter(people))


@pytest.fixture
def person(running: Running) -> Enrolled:
    return next(running.people)


@pytest.fixture(scope="session")
def world() -> World:
    return load_world("tiny", 1)


class _Resolver(AbstractResolver):
    """Every name of the simulated internet is at the profile's gateway."""

    def __init__(self, internet: Internet, profile: str) -> None:
        self._internet, self._address = internet, internet.gateways[profile]

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        if host not in self._internet.hosts:
            raise OSError(f"{host} does not exist")
        mapped = self._internet.https_port if port == 443 else self._internet.http_port
        return [ResolveResult(hostname=host, host=self._address, port=mapped, family=2, proto=0, flags=0)]

    async def close(self) -> None:
        pass


class Client:
    """A browser without a screen or scripts: keeps cookies, follows redirects, fetches the pictures of a page."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def get(self, url: str) -> str:
        async with self.session.get(URL(url, encoded=True)) as response:
            assert response.status == 200, url
            return await response.text(errors="replace")

    async def load(self, url: str) -> list[str]:
        """Fetch a page and its pictures; the pictures' addresses."""
        pictures = [unescape(found) for found in re.findall(r'<img src="(https[^"]+)"', await self.get(url))]
        for picture in pictures:
            await self.get(picture)
        return pictures

    async def sign_in(self, one: Enrolled, password: str | None = None) -> tuple[int, str]:
        form = {"email": one.account, "password": password or one.password}
        async with self.session.post("https://api.amazon.com/ap/signin", data=form) as response:
            return response.status, await response.text()

    async def bids(self, world: World, site: str, bidder: str) -> dict[str, float]:
        """What a bidder quotes for the slots of a site, in its own unit; slots without a bid are left out."""
        exchange, slots = world.exchanges[bidder], world.sites[site].slots
        body = {"id": "r", "imp": [_impression(bidder, slot.code, slot.placements[bidder]) for slot in slots]}
        headers = {"Origin": world.sites[site].url.rstrip("/"), "Content-Type": "text/plain"}
        url = f"https://{exchange.host}{exchange.path}"
        async with self.session.post(url, data=json.dumps(body), headers=headers) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == headers["Origin"]
            assert response.headers["Access-Control-Allow-Credentials"] == "true"
            answer = await response.json()
        return {bid["impid"]: bid["price"] for seat in answer["seatbid"] for bid in seat["bid"]}

    def cookie(self, name: str) -> str:
        return next(cookie.value for cookie in self.session.cookie_jar if cookie.key == name)


def _impression(bidder: str, code: str, placement: str) -> dict[str, object]:
    """The part of the adapter's request that says which slot it is about, as captured from Chromium."""
    if bidder == "openx":
        return {"id": code, "tagid": placement, "ext": {"divid": code}}
    return {"id": code, "banner": {"format": [{"w": 300, "h": 250, "ext": {"siteID": placement}}]}}


@asynccontextmanager
async def browser(lab: Lab, profile: str) -> AsyncIterator[Client]:
    internet = lab.internet
    tls = ssl.create_default_context(cafile=internet.ca_file)
    connector = aiohttp.TCPConnector(resolver=_Resolver(internet, profile), ssl=tls, use_dns_cache=False)
    jar = aiohttp.CookieJar(quote_cookie=False)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        yield Client(session)


def truth(directory: Path, table: str, profile: str | None = None) -> list[dict[str, object]]:
    """The rows of a truth table as the servers have written them so far, of one profile or of all."""
    seal(directory)
    rows: list[dict[str, object]] = pq.read_table(directory / f"{table}.parquet").to_pylist()
    return [row for row in rows if profile is None or row["profile"] == profile]
