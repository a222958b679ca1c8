from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pyarrow as pa
import pytest

from earwitness.lab import start
from earwitness.lab.browsing import Browsing, Hit
from earwitness.lab.faults import EMPTY, RESET, SLOW, UNAVAILABLE, Faults
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.score_web import Visits, hops
from earwitness.lab.truth import TRUTH_TABLES, Truth
from earwitness.lab.world_file import load_world
from earwitness.model.network import Enrolled
from earwitness.model.tables import TABLES
from tests.lab.conftest import browser, truth

WORLD = load_world("demo", 3)
SITE = next(iter(WORLD.sites.values()))


def hit(browsing: Browsing, host: str, path: str, query: str = "") -> Hit:
    return Hit("GET", host, path, f"https://{host}{path}{query}", {}, {}, None, b"", "profile-1", browsing)


@pytest.fixture
def state(tmp_path: Path, enrolled: list[Enrolled]) -> Iterator[PlatformState]:
    record = Truth(tmp_path / "drawn")
    made = PlatformState(WORLD, record, enrolled)
    yield made
    made.close()
    record.close()


def drawn(state: PlatformState, host: str, path: str, tries: int = 6000) -> list[str | None]:
    faults, browsing = Faults(WORLD, state), Browsing(SITE.site)
    return [faults.of(hit(browsing, host, path, f"?{number}")) for number in range(tries)]


def test_one_request_in_a_hundred_fails_and_each_time_the_same_one(state: PlatformState) -> None:
    found = drawn(state, WORLD.asset_host, "/page.css")
    assert found == drawn(state, WORLD.asset_host, "/page.css")
    counts = Counter(fault for fault in found if fault)
    assert counts.keys() == {SLOW, RESET, UNAVAILABLE, EMPTY}
    assert abs(counts.total() / len(found) - 0.01) < 0.004
    state.announce("profile-1", "after", 2)
    assert found != drawn(state, WORLD.asset_host, "/page.css")


def test_what_an_audit_stands_on_never_fails(state: PlatformState) -> None:
    for host, path in (
        (SITE.host, "/"),
        (WORLD.asset_host, "/prebid.js"),
        ("api.amazon.com", "/ap/signin"),
        ("api.amazon.com", "/ap/home"),
        (WORLD.platform.ad_host, "/x/sso"),
    ):
        assert set(drawn(state, host, path)) == {None}


def test_bidders_fail_only_as_prebid_reports_exactly(state: PlatformState) -> None:
    for bidder, exchange in WORLD.exchanges.items():
        kinds = set(drawn(state, exchange.host, exchange.path)) - {None}
        assert kinds == ({UNAVAILABLE, EMPTY} if bidder == "rubicon" else {SLOW, UNAVAILABLE, EMPTY})


def test_what_is_asked_again_is_answered(state: PlatformState) -> None:
    faults, browsing = Faults(WORLD, state), Browsing(SITE.site)
    asked = (hit(browsing, WORLD.asset_host, "/page.css", f"?{number}") for number in range(6000))
    failed = next(each for each in asked if faults.of(each))
    assert [faults.of(failed) for _ in range(500)] == [None] * 500


async def test_failing_requests_fail_on_the_wire_and_in_the_truth(
    state: PlatformState, tmp_path: Path, enrolled: list[Enrolled]
) -> None:
    """Which ones fail is computed beforehand, so that only those need be asked for."""
    path = f"/{SITE.site}/1.svg"
    when: dict[str, int] = {}
    for iteration in range(1, 4000):
        state.announce("profile-1", "after", iteration)
        fault = Faults(WORLD, state).of(hit(Browsing(SITE.site), WORLD.asset_host, path))
        if fault:
            when.setdefault(fault, iteration)
    seen = {}
    with start("demo", 3, tmp_path / "truth", enrolled) as lab:
        async with browser(lab, "profile-1") as client:
            for fault in (RESET, UNAVAILABLE, EMPTY):
                lab.announce("profile-1", "after", when[fault])
                await client.get(SITE.url)
                try:
                    async with client.session.get(f"https://{WORLD.asset_host}{path}") as response:
                        seen[fault] = (response.status, len(await response.read()))
                except aiohttp.ClientError:
                    seen[fault] = (0, 0)
    rows = [row for row in truth(tmp_path / "truth", "truth_requests") if row["host"] == WORLD.asset_host]
    assert seen[UNAVAILABLE][0] == 503 and seen[EMPTY] == (200, 0)
    # The client itself asks again after a reset, as browsers do, and is answered.
    assert [row["status"] for row in rows] in ([None, 503, 200], [None, 200, 503, 200])
    assert (seen[RESET][0] == 200) == (len(rows) == 4)


def test_a_reset_counts_once_and_not_at_all_where_the_browser_asked_again() -> None:
    visits = Visits(TABLES["visits"].arrow([{"visit": "v", "profile": "p", "started_at": 0, "ended_at": 9}]))

    def row(at: int, url: str, status: int | None) -> dict[str, object]:
        return {"at": at, "profile": "p", "method": "GET", "url": url, "status": status, "kind": "image"}

    truth_rows = [
        row(1, "https://a.example/", None),
        row(2, "https://a.example/", 200),
        row(3, "https://b.example/", None),
    ]
    made = pa.Table.from_pylist(truth_rows, schema=TRUTH_TABLES["truth_requests"])
    seen = [{"visit": "v", "method": "GET", "url": url} for url in ("https://a.example/", "https://b.example/")]
    tally = hops(TABLES["requests"].arrow(seen), made, visits)
    assert (tally.found, tally.missed, tally.false) == (2, [], [])
    tally = hops(TABLES["requests"].arrow(seen[:1]), made, visits)
    assert tally.missed == [("p", "v", "GET", "https://b.example/")]
