"""A hand-made browsing history, told as a story: who visited what, which requests were sent, which cookies were set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pyarrow as pa

from earwitness.detect import identifiers, syncs
from earwitness.model.tables import TABLES

START = datetime(2026, 5, 4, 9, 0, tzinfo=UTC)

# Who owns what in these stories.
OWNERS = {
    "news.example": "Newsroom",
    "ads.platform.example": "Platform",
    "platform.example": "Platform",
    "sync.acorn.example": "Acorn",
    "acorn.example": "Acorn",
    "cdn.acorn-static.example": "Acorn",
    "px.birch.example": "Birch",
    "birch.example": "Birch",
    "in.cedar.example": "Cedar",
    "scripts.example": "Scripts",
}


class History:
    """What the profiles of a study did, as tables."""

    def __init__(self) -> None:
        self.now = START
        self.rows: dict[str, list[dict]] = {name: [] for name in ("visits", "requests", "cookies", "profiles")}

    def profile(self, profile: str, account: str | None = None) -> None:
        self.rows["profiles"].append({"profile": profile, "persona": "control", "account": account})

    def visit(self, profile: str, page: str = "https://news.example/") -> str:
        """A visit of `page`, whose document request is sent."""
        if profile not in {row["profile"] for row in self.rows["profiles"]}:
            self.profile(profile)
        visit = f"v{len(self.rows['visits'])}"
        self.rows["visits"].append({"visit": visit, "profile": profile, "site": "news", "started_at": self.now})
        self.request(visit, page, type="document")
        return visit

    def request(self, visit: str, url: str, **more) -> str:
        """A request sent a second after what came before it; returns its identifier."""
        self.now += timedelta(seconds=1)
        request = f"r{len(self.rows['requests']):03}"
        row = {"request": request, "visit": visit, "hop": 0, "at": self.now, "method": "GET", "url": url}
        row |= {"host": urlsplit(url).hostname, "type": "image", "evidence": f"sha-{visit}", "locator": request}
        self.rows["requests"].append(row | more)
        return request

    def redirect(self, visit: str, *urls: str, **more) -> str:
        """A request to the first address, redirected to the next and so on; returns the last hop."""
        request = self.request(visit, urls[0], location=urls[1], status=302, **more)
        for hop, url in enumerate(urls[1:], 1):
            location = urls[hop + 1] if hop + 1 < len(urls) else None
            request = self.request(visit, url, hop=hop, redirected_from=request, location=location)
        return request

    def cookie(self, visit: str, host: str, name: str, value: str, via: str = "http") -> None:
        self.now += timedelta(seconds=1)
        profile = next(row["profile"] for row in self.rows["visits"] if row["visit"] == visit)
        number = f"c{len(self.rows['cookies']):03}"
        row = {"cookie": number, "profile": profile, "visit": visit, "at": self.now, "host": host, "name": name}
        self.rows["cookies"].append(row | {"value": value, "via": via, "evidence": f"sha-{visit}", "locator": number})

    def keeps(self, profile: str, host: str, name: str, value: str, visits: int = 2) -> list[str]:
        """`profile` visits the page so often, and each time `host` sets the same cookie again."""
        made = [self.visit(profile) for _ in range(visits)]
        for visit in made:
            self.cookie(visit, host, name, value)
        return made

    def table(self, name: str) -> pa.Table:
        return TABLES[name].arrow(self.rows[name])

    def identifiers(self) -> pa.Table:
        return identifiers(*(self.table(name) for name in ("cookies", "visits", "profiles", "requests")))

    def values(self, profile: str = "ann", kind: str = "stored") -> list[str]:
        """The identifiers found for a profile."""
        rows = self.identifiers().to_pylist()
        return [row["value"] for row in rows if row["profile"] == profile and row["kind"] == kind]

    def sync_table(self) -> pa.Table:
        return syncs(self.identifiers(), self.table("requests"), self.table("visits"), hosts())

    def syncs(self) -> list[tuple[str, str, str, str]]:
        """Who sent an identifier to whom, by which channel, in which encoding."""
        rows = self.sync_table().to_pylist()
        return sorted((row["sender"], row["receiver"], row["channel"], row["encoding"]) for row in rows)


def hosts() -> pa.Table:
    """The table `hosts` of these stories."""
    rows = []
    for host, organisation in OWNERS.items():
        site = ".".join(host.split(".")[-2:])
        rows.append({"host": host, "site": site, "organisation": organisation, "purpose": "unknown"})
    return TABLES["hosts"].arrow(rows)
