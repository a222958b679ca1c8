"""Whole passes: real Chromium against the small internet's servers, whose log is the yardstick."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from collections import Counter
from pathlib import Path

import pytest

from earwitness.crawl import CrawlInterrupted, PassResult, SignIn, VisitPlan, browse, chromium, run_pass
from earwitness.crawl.events import EventLog
from earwitness.crawl.home import temporary_home
from earwitness.crawl.secrets import Secrets
from earwitness.model.errors import EarwitnessError, MissingTool
from earwitness.model.tables import TABLES
from tests.crawl import small_internet as net
from tests.crawl.processes import browsers
from tests.crawl.small_internet import SmallInternet

KEY = b"test key"
SIGN_IN = SignIn("https://accounts.platform.example/ap/signin", "me@mailbox.example", net.PASSWORD)


def plans(name: str, *urls: str) -> list[VisitPlan]:
    return [VisitPlan(f"{name}/{n}", f"site{n}", url, "before", 1, n) for n, url in enumerate(urls, 1)]


async def crawl(
    small: SmallInternet,
    folder: Path,
    name: str,
    *urls: str,
    profile: str = "p1",
    snapshot: Path | None = None,
    sign_in: SignIn | None = None,
    cap: float = 15.0,
) -> PassResult:
    return await run_pass(
        profile=profile,
        pass_id=name,
        visits=plans(name, *urls),
        internet=small.internet,
        snapshot=snapshot,
        sealed=folder / f"{name}.tar.zst",
        sign_in=sign_in,
        events=folder / f"{name}.jsonl",
        token_key=KEY,
        visit_cap_s=cap,
    )


def served(small: SmallInternet, visit: dict) -> Counter:
    """What the servers were asked within a visit's window; the browser's own icon fetches apart."""
    start, end = visit["started_at"].timestamp(), visit["ended_at"].timestamp()
    return Counter(
        (a.method, a.url, a.status, a.location, a.cookie, a.referer, tuple(a.set_cookie), a.body[:65536] or None)
        for a in small.log
        if start <= a.at <= end and not a.url.endswith("/favicon.ico")
    )


def recorded(result: PassResult, visit: dict) -> Counter:
    return Counter(
        (
            r["method"],
            r["url"],
            r["status"],
            r["location"],
            r["cookies_sent"],
            r["referer"],
            tuple(r["cookies_set"]),
            r["body"],
        )
        for r in result.rows["requests"]
        if r["visit"] == visit["visit"]
    )


def of_visit(result: PassResult, table: str, visit: str) -> list[dict]:
    return [row for row in result.rows[table] if row["visit"] == visit]


def by_url(result: PassResult, part: str) -> dict:
    (row,) = [row for row in result.rows["requests"] if part in row["url"]]
    return row


def fits_tables(result: PassResult) -> None:
    for table, rows in (*result.rows.items(), ("gaps", result.gaps)):
        assert TABLES[table].arrow(rows).num_rows == len(rows)
    for table in ("requests", "cookies", "bids"):
        ids = [row[table[:-1]] for row in result.rows[table]]
        assert len(ids) == len(set(ids))


async def test_every_hop_and_cookie_equals_the_servers_log(small: SmallInternet, tmp_path: Path):
    result = await crawl(small, tmp_path, "a", "https://news.example/")
    fits_tables(result)
    (visit,) = result.rows["visits"]
    assert visit["status"] == "done"
    assert visit["reason"] == "loaded, network quiet"
    assert visit["browser"].startswith("Chromium 1")

    seen, true = recorded(result, visit), served(small, visit)
    # The one thing that the protocol does not show: the headers sent for a service worker's script.
    hidden = [key for key in true if key[1].endswith("/sw.js")]
    assert len(hidden) == 1
    assert hidden[0][4] == "first=fp-1; by_script=s-abcdefgh"
    del true[hidden[0]], seen[(*hidden[0][:4], None, None, *hidden[0][6:])]
    assert seen == true
    assert seen.total() == 13
    assert any(g["reason"] == "service_worker_unseen" for g in result.gaps)

    # Three hops, linked.
    start, match, last = (by_url(result, part) for part in ("start.gif", "/match", "/set?"))
    assert [r["hop"] for r in (start, match, last)] == [0, 1, 2]
    assert match["redirected_from"] == start["request"]
    assert last["redirected_from"] == match["request"]
    assert start["redirected_from"] is None
    assert start["cookies_set"][1].startswith("a2=ua-2; Path=/")

    # Who asked, in which frame.
    assert by_url(result, "deep.gif")["frame_url"] == "https://frames.tracker-b.example/frame.html"
    assert by_url(result, "inner.html")["frame_url"] == "https://frames.tracker-b.example/frame.html"
    assert by_url(result, "i.gif")["frame_url"] == "https://inner.tracker-e.example/inner.html"
    assert by_url(result, "worker.gif")["initiator"] == "https://news.example/worker.js"
    assert by_url(result, "sw.gif")["initiator"] == "https://news.example/sw.js"
    preflight, post = (r for r in result.rows["requests"] if r["url"].endswith("/collect"))
    if preflight["method"] == "POST":
        preflight, post = post, preflight
    assert (preflight["method"], preflight["type"]) == ("OPTIONS", "preflight")
    assert preflight["frame_url"] == post["frame_url"] == "https://news.example/"
    assert post["body"] == '{"page":"news","id":"fp-42"}'

    # Cookies: each accepted line a row, each refused one a gap.
    http = {(c["host"], c["name"], c["value"]) for c in result.rows["cookies"] if c["via"] == "http"}
    assert ("one.tracker-a.example", "a2", "ua-2") in http
    assert len(http) == 12
    assert not {"lax", "bad"} & {name for _, name, _ in http}
    blocked = [g["detail"] for g in result.gaps if g["reason"] == "cookie_blocked"]
    assert any("bad from three.tracker-c.example: InvalidDomain" in detail for detail in blocked)
    others = {
        (c["via"], c["host"], c["name"], c["value"], c["first_party"], c["expires_at"] is None)
        for c in result.rows["cookies"]
        if c["via"] != "http"
    }
    assert others == {
        ("script", "news.example", "by_script", "s-abcdefgh", True, False),
        ("script", "frames.tracker-b.example", "chip", "script-in-frame", False, False),
        ("storage", "news.example", "kept", "ls-0123456789", True, True),
        ("storage", "frames.tracker-b.example", "framed", "ls-third-party", False, True),
    }

    # Every row can be walked back to its line.
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    for row in result.rows["requests"]:
        event = json.loads(lines[int(row["locator"].removeprefix("line ")) - 1])
        assert event["cdp"]["params"]["request"]["url"] == row["url"]
    for row in result.rows["cookies"]:
        assert row["value"] in lines[int(row["locator"].removeprefix("line ")) - 1]
    assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == 0o600


async def test_signed_in_once_remembered_and_never_written(small: SmallInternet, tmp_path: Path):
    urls = ["https://members.example/", "https://news.example/cached", "https://news.example/cached"]
    first, other = await asyncio.gather(
        crawl(small, tmp_path, "first", *urls, sign_in=SIGN_IN),
        crawl(small, tmp_path, "other", "https://news.example/", profile="p2"),
    )
    assert len(small.asked("/ap/signin")) == 2  # the form, and its answer
    assert other.rows["visits"][0]["status"] == "done"
    small.log.clear()
    second = await crawl(small, tmp_path, "second", *urls, sign_in=SIGN_IN, snapshot=tmp_path / "first.tar.zst")
    assert small.asked("/ap/signin") == []
    (asked,) = small.asked("members.gif")
    # One of them is a session cookie, which only the snapshot carries on; it got a new value in the first pass.
    assert sorted(asked.cookie.split("; ")) == [f"at-main={net.AT_MAIN}", f"session-id={net.ROTATED}"]

    # Cookies of everybody else live on, too.
    (ad,) = small.asked("ad.gif")
    assert f"ad-id={net.AD_ID}" in ad.cookie
    assert by_url(second, "ad.gif")["cookies_sent"] == ad.cookie

    # What is served from a cache is no hop; what is only checked is one.
    for result in (first, second):
        fits_tables(result)
        visits = [v["visit"] for v in result.rows["visits"]]
        names = [[r["url"].rpartition("/")[2] for r in of_visit(result, "requests", v)] for v in visits]
        assert names[1] == ["cached", "long.css", "long.gif", "check.gif", "moved.js", "now.js"]
        assert names[2] == ["cached", "check.gif", "now.js"]
        statuses = [r["status"] for r in of_visit(result, "requests", visits[2])]
        assert statuses == [200, 304, 200]
    for visit in second.rows["visits"][1:]:
        assert recorded(second, visit) == served(small, visit)

    # Same value, same token: in headers, cookies, addresses; in both passes.
    leak = [by_url(result, "/leak?s=") for result in (first, second)]
    sent = [by_url(result, "members.gif")["cookies_sent"] for result in (first, second)]
    token = leak[1]["url"].partition("?s=")[2]
    assert token.startswith("token:")
    assert f"session-id={token}" in sent[1]
    assert f"session-id={token}" in by_url(first, "members.gif")["cookies_set"][0]
    assert f"session-id={leak[0]['url'].partition('?s=')[2]}" in sent[0]

    everything = "".join(
        (tmp_path / f"{name}.jsonl").read_text() + repr(result)
        for name, result in (("first", first), ("second", second))
    )
    for secret in (net.PASSWORD, net.SESSION, net.ROTATED, net.AT_MAIN):
        for form in (secret, net.quoted(secret), secret.replace("|", "%7C")):
            assert form not in everything
    assert "page-bearer-0123" not in (tmp_path / "other.jsonl").read_text()
    assert net.AD_ID in everything
    assert stat.S_IMODE((tmp_path / "first.tar.zst").stat().st_mode) == 0o600


async def test_refused_sign_in_says_so_without_the_password(small: SmallInternet, tmp_path: Path, homes: Path):
    wrong = SignIn(SIGN_IN.url, SIGN_IN.account, "not the password")
    with pytest.raises(EarwitnessError, match=r"accounts\.platform\.example was refused") as caught:
        await crawl(small, tmp_path, "a", "https://news.example/", sign_in=wrong)
    assert wrong.password not in str(caught.value)
    assert wrong.password not in repr(wrong)
    assert small.asked("news.example") == []
    assert (tmp_path / "a.jsonl").read_bytes() == b""
    assert not (tmp_path / "a.tar.zst").exists()
    assert list(homes.iterdir()) == []


async def test_difficult_pages_end_well(
    small: SmallInternet, tmp_path: Path, homes: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(browse, "_READ_S", 1.0)
    monkeypatch.setattr(browse, "_LEAVE_S", 1.0)
    result = await crawl(
        small,
        tmp_path,
        "a",
        "http://plain.example/",
        "https://offline.example/",
        "https://rude.example/",
        "https://forbidden.example/",
        "chrome://crash",
        "https://bodies.example/",
        "https://missing.google.com/",
        "https://endless.example/",
        "https://stuck.example/",
        "http://plain.example/",
        cap=2.0,
    )
    fits_tables(result)
    visits = result.rows["visits"]
    assert [v["status"] for v in visits] == [
        "done", "done", "done", "blocked", "crashed", "done", "blocked", "timeout", "timeout", "done",
    ]  # fmt: skip
    assert visits[3]["reason"] == "HTTP 403"
    assert visits[7]["reason"] == "cap reached, waiting for the load event"
    assert 2.0 <= visits[7]["dwell_s"] < 4.0
    reasons = Counter((g["subject"], g["reason"]) for g in result.gaps)
    assert reasons["a/5", "crashed"] == reasons["a/7", "not_sent"] == reasons["a/8", "timeout"] == 1
    assert reasons["a/3", "download_denied"] == reasons["a/9", "page_stuck"] == 1
    for n in (0, 3, 5, 7, 8, 9):
        assert recorded(result, visits[n]) == served(small, visits[n])
    # A service worker in between: one row for what it fetched, none for what it made up.
    paths = Counter(r["url"].rpartition("/")[2] for r in of_visit(result, "requests", "a/2"))
    assert paths == {"": 1, "sw.js": 1, "through?1": 1, "past?1": 1}
    bodies = {r["url"].rpartition("/")[2]: r["body"] for r in of_visit(result, "requests", "a/6")}
    assert bodies["gzip"] == '{"packed": "yes"}'
    assert bodies["blob"] == "from a blob"
    assert bodies["big"] == "b" * 65536
    assert bodies["text"] == 'ä "quoted" <tag>'
    assert list(homes.iterdir()) == []
    assert browsers(homes) == []


async def test_a_killed_browser_leaves_what_was_seen(small: SmallInternet, tmp_path: Path, homes: Path):
    async def kill_in_second_visit() -> None:
        while not small.asked("endless.example/never.gif"):
            await asyncio.sleep(0.02)
        os.kill(browsers(homes)[0], signal.SIGKILL)

    killer = asyncio.create_task(kill_in_second_visit())
    with pytest.raises(CrawlInterrupted) as caught:
        await crawl(small, tmp_path, "a", "https://news.example/", "https://endless.example/")
    await killer
    result = PassResult(caught.value.rows, caught.value.gaps, "")
    fits_tables(result)
    assert [v["status"] for v in result.rows["visits"]] == ["done", "crashed"]
    assert len(of_visit(result, "requests", "a/1")) == 14
    assert "https://endless.example/" in [r["url"] for r in of_visit(result, "requests", "a/2")]
    assert [g["subject"] for g in result.gaps if g["reason"] == "interrupted"] == ["a"]
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert all(json.loads(line) for line in lines)
    for row in result.rows["requests"]:
        assert row["url"] in lines[int(row["locator"].removeprefix("line ")) - 1]
    assert not (tmp_path / "a.tar.zst").exists()
    assert list(homes.iterdir()) == []
    assert browsers(homes) == []


async def test_the_browser_dies_with_its_parent_and_its_home_is_swept(
    small: SmallInternet, tmp_path: Path, homes: Path
):
    program = f"""
import asyncio, sys, tempfile
from pathlib import Path
from earwitness.crawl import VisitPlan, run_pass
from earwitness.model.network import Internet
tempfile.tempdir = {str(homes)!r}
internet = Internet(Path("unused"), {small.internet.ca_spki!r}, {{}}, {{"p1": "127.0.0.1"}},
    {small.internet.https_port}, {small.internet.http_port}, 0, frozenset())
asyncio.run(run_pass(profile="p1", pass_id="a", internet=internet, snapshot=None, sign_in=None, token_key=b"k",
    visits=[VisitPlan("v", "s", "https://endless.example/", "before", 1, 1)],
    sealed=Path({str(tmp_path / "sealed")!r}), events=Path({str(tmp_path / "events")!r})))
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    while not small.asked("endless.example/never.gif"):
        assert parent.returncode is None
        await asyncio.sleep(0.02)
    assert browsers(homes)
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(5):
        while browsers(homes):
            await asyncio.sleep(0.05)
    assert len(list(homes.iterdir())) == 1
    async with temporary_home() as home:
        assert list(homes.iterdir()) == [home]
    assert list(homes.iterdir()) == []


async def test_other_windows_are_closed(small: SmallInternet, tmp_path: Path, homes: Path):
    async with temporary_home() as home:
        browser = await chromium.start(home, chromium.internet_flags(small.internet, "p1"))
        secrets = Secrets(KEY)
        log = EventLog(tmp_path / "events", secrets.redact)
        persona = browse.PersonaBrowser("p1", "a", log, secrets, 10.0)
        await persona.open(browser.url)
        (page,) = [s for s in persona.targets.sessions.values() if s.kind == "page"]
        click = {"expression": "open('https://popup.example/') && 1", "userGesture": True}
        await page.call("Runtime.evaluate", click)
        async with asyncio.timeout(5):
            while not persona.result().gaps:
                await asyncio.sleep(0.01)
        (gap,) = persona.result().gaps
        assert gap["reason"] == "popup_closed"
        await persona.visit(plans("a", "http://plain.example/")[0])
        assert [v["status"] for v in persona.result().rows["visits"]] == ["done"]
        assert small.asked("popup.example") == []
        await persona.targets.close()
        await browser.kill()


async def test_without_chromium_the_mend_is_named(
    small: SmallInternet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool, match="apt-get install"):
        await crawl(small, tmp_path, "a", "https://news.example/")
