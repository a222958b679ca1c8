import asyncio
import re
from html import unescape
from pathlib import Path

import aiohttp
import pytest

from earwitness.lab import start
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.truth import Truth
from earwitness.lab.world import World
from earwitness.model.network import Enrolled
from tests.lab.conftest import Running, browser, truth


async def test_the_form_signs_in_over_the_ad_host(running: Running, person: Enrolled) -> None:
    async with browser(running.lab, person.profile) as client:
        form = await client.get("https://api.amazon.com/ap/signin")
        assert 'name="email"' in form and 'name="password"' in form
        status, text = await client.sign_in(person, password="wrong")
        assert status == 401 and 'name="password"' in text
        status, text = await client.sign_in(person)
        assert status == 200 and 'id="signed-in"' in text and person.account in text
        cookies = {cookie.key: cookie for cookie in client.session.cookie_jar}
    assert cookies["at-main"]["domain"] == "amazon.com" and cookies["at-main"]["max-age"] == "31536000"
    assert cookies["session-id"]["max-age"] == "" and cookies["session-id"]["httponly"]
    assert cookies["ad-id"]["domain"] == "amazon-adsystem.com" and cookies["ad-id"]["samesite"] == "None"


async def test_without_a_session_home_leads_back_to_the_form(running: Running, person: Enrolled) -> None:
    async with browser(running.lab, person.profile) as client:
        assert "signed-in" not in await client.get("https://api.amazon.com/ap/home")


async def test_no_password_token_or_session_is_written_down(running: Running, person: Enrolled) -> None:
    async with browser(running.lab, person.profile) as client:
        await client.sign_in(person)
        secrets = [person.password, person.refresh_token, client.cookie("at-main"), client.cookie("session-id")]
        await client.get("https://api.amazon.com/ap/home")
    rows = truth(running.directory, "truth_requests", person.profile)
    assert [row["kind"] for row in rows] == ["sign_in"] * 4
    assert all(row["body_sha256"] is None and "t=" not in str(row["url"]) for row in rows)
    assert re.search(r"at-main=~[0-9a-f]{12}", str(rows[-1]["cookie_header"]))
    written = b"".join(path.read_bytes() for path in running.directory.iterdir())
    assert not any(secret.encode() in written for secret in secrets)


async def test_a_publisher_s_page_offers_its_two_slots_to_both_bidders(
    running: Running, person: Enrolled, world: World
) -> None:
    async with browser(running.lab, person.profile) as client:
        for site in world.sites.values():
            text = await client.get(site.url)
            assert len(site.slots) == 2
            for slot in site.slots:
                assert f'<div id="{slot.code}"' in text and f'"code":"{slot.code}"' in text
                assert all(number in text for number in slot.placements.values())
            assert '"syncDelay":300' in text and '"syncsPerBidder":5' in text and '"bidderTimeout":1500' in text
        assert len(await client.get(f"https://{world.asset_host}/prebid.js")) > 200_000


@pytest.mark.parametrize("bidder", ["openx", "ix"])
async def test_what_bidders_quote_is_what_the_truth_holds(
    running: Running, person: Enrolled, world: World, bidder: str
) -> None:
    unit = {"openx": 1, "ix": 100}[bidder]
    quoted = {}
    async with browser(running.lab, person.profile) as client:
        for phase in ("before", "after"):
            running.lab.announce(person.profile, phase, 1)
            for site in world.sites.values():
                await client.get(site.url)
                quoted |= {
                    (phase, site.site, code): price / unit
                    for code, price in (await client.bids(world, site.site, bidder)).items()
                }
    rows = truth(running.directory, "truth_bids", person.profile)
    assert len(rows) == 12 and {row["bidder"] for row in rows} == {bidder}
    held = {
        ("before" if index < 6 else "after", row["site"], row["slot"]): row["cpm_usd"]
        for index, row in enumerate(rows)
        if row["status"] == "bid"
    }
    assert held == quoted
    assert all(row["cpm_usd"] == row["cpm_without_interest"] for row in rows)
    assert all(round(price, 4) == pytest.approx(price, abs=1e-12) for price in quoted.values())


async def test_a_bid_request_that_makes_no_sense_is_refused(running: Running, person: Enrolled) -> None:
    async with browser(running.lab, person.profile) as client:
        for body in ("", "[]", '{"imp":[{"id":"x","tagid":"unheard of"}]}'):
            async with client.session.post("https://rtb.openx.net/openrtbb/prebidjs", data=body) as response:
                assert response.status == 400


async def test_bids_rise_only_for_a_known_cookie_of_a_signed_in_browser_with_the_interest(
    tmp_path: Path, world: World, enrolled: list[Enrolled]
) -> None:
    # The platform has heard two people talk to a skill before this session.
    earlier, skill = PlatformState(world, Truth(tmp_path), enrolled), next(iter(world.skills.values()))
    for one in enrolled[:2]:
        for utterance in skill.utterances:
            earlier.interaction(one.account, skill.skill, utterance.text)
    earlier.close()
    site = next(iter(world.sites.values()))
    steps = []
    with start("tiny", 1, tmp_path, enrolled) as lab:
        # Of these, only the first talked, signed in and had its cookie matched (by one exchange of two).
        for one, signs_in in zip(enrolled, (True, False, True), strict=True):
            async with browser(lab, one.profile) as client:
                lab.announce(one.profile, "after", 1)
                for step in ("new", "signed in", "matched"):
                    if step == "signed in" and signs_in:
                        await client.sign_in(one)
                    if step == "matched":
                        await client.load("https://u.openx.net/w/1.0/pd")
                    await client.get(site.url)
                    await client.bids(world, site.site, "openx")
                    await client.bids(world, site.site, "ix")
                    steps += [(one.profile, step)] * 4
    rows = truth(tmp_path, "truth_bids")
    raised = set()
    for step, row in zip(steps, rows, strict=True):
        if row["cpm_usd"] != row["cpm_without_interest"]:
            assert row["cpm_usd"] == pytest.approx(3 * float(str(row["cpm_without_interest"])), abs=2e-4)
            assert str(row["reason"]).startswith("interest Pets & Animals")
            raised.add((*step, row["bidder"]))
        else:
            assert row["reason"] in ("not matched", "matched, no interest", "no demand")
    assert raised == {(enrolled[0].profile, "matched", "openx")}
    for start_at in range(0, 36, 12):
        without = [row["cpm_without_interest"] for row in rows[start_at : start_at + 12]]
        assert without[:4] == without[4:8] == without[8:]


async def test_identifiers_travel_and_every_arrival_is_written_down(
    running: Running, person: Enrolled, world: World
) -> None:
    host = {name: end.host for name, end in world.endpoints.items()}
    frame = world.endpoints["tracker_frame"]
    async with browser(running.lab, person.profile) as client:
        consent = "gdpr=1&gdpr_consent=CPabc"
        await client.load(f"https://u.openx.net/w/1.0/pd?{consent}")
        await client.load("https://js-sec.indexww.com/um/ixmatch.html")
        sent = await client.load(f"https://{frame.host}{frame.path}?{consent}")
        names = {key: each.cookie.name for key, each in world.organisations.items() if each.cookie}
        value = {key: client.cookie(names[key]) for key in ("openx", "index", "first_tracker", "relay")}
    assert all("gdpr_consent=CPabc" in address for address in sent)
    rows = truth(running.directory, "truth_syncs", person.profile)
    found = {
        (row["sender_host"], row["receiver_host"], row["identifier"], row["channel"], row["encoding"]) for row in rows
    }
    platform = host["platform_match"]
    assert found == {
        ("u.openx.net", platform, value["openx"], "query", "plain"),
        ("u.openx.net", host["relay_pixel"], value["openx"], "query", "plain"),
        (host["relay_pixel"], host["far_pixel"], value["openx"], "query", "plain"),
        (host["relay_pixel"], host["far_pixel"], value["relay"], "query", "plain"),
        ("ssum.casalemedia.com", platform, value["index"], "query", "plain"),
        ("ssum.casalemedia.com", host["path_pixel"], value["index"], "path", "plain"),
        ("ssum.casalemedia.com", "js-sec.indexww.com", value["index"], "query", "plain"),
        (frame.host, platform, value["first_tracker"], "query", "url"),
        (frame.host, host["tracker_second"], value["first_tracker"], "query", "url"),
        (frame.host, host["relay_away"], value["first_tracker"], "query", "url"),
        (host["relay_away"], host["path_other"], value["first_tracker"], "query", "url"),
    }


async def test_traps_are_sent_about_but_are_no_syncs(running: Running, world: World) -> None:
    site = next(iter(world.sites.values()))
    beside = world.organisations["second_tracker"].beside
    people = [next(running.people), next(running.people)]
    kept = []
    for person in people:
        async with browser(running.lab, person.profile) as client:
            tags = re.findall(r'<script async src="([^"]+gdpr_consent[^"]+)"', await client.get(site.url))
            for tag in tags:
                await client.get(unescape(tag))
            names = (world.consent_cookie, beside["first_visit"], beside["constant"])
            kept.append([client.cookie(name) for name in names])
        await asyncio.sleep(0.15)  # consent strings hold tenths of a second
        assert len(tags) == 2 and all(kept[-1][0] in tag for tag in tags)
        assert truth(running.directory, "truth_syncs", person.profile) == []
    (consent, first, constant), (other_consent, other_first, same_constant) = kept
    assert consent != other_consent and first != other_first and constant == same_constant


async def test_every_request_is_written_with_its_visit_and_kind(
    running: Running, person: Enrolled, world: World
) -> None:
    first, second = list(world.sites.values())[:2]
    async with browser(running.lab, person.profile) as client:
        await client.get("https://u.openx.net/w/1.0/pd?x=%41+%2B")
        for site in (first, second):
            await client.get(site.url)
            async with client.session.get(f"https://{site.host}/favicon.ico") as response:
                assert response.status == 404
        asked = {"Origin": "https://a.example", "Access-Control-Request-Headers": "x-a"}
        async with client.session.options("https://rtb.openx.net/openrtbb/prebidjs", headers=asked) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Headers"] == "x-a"
        async with client.session.get(f"http://{first.host}/", allow_redirects=False) as response:
            assert response.headers["Location"] == first.url
        async with client.session.get(f"https://{first.host}/nowhere") as response:
            assert response.status == 404
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get("https://does-not-exist.example/")
    rows = truth(running.directory, "truth_requests", person.profile)
    assert [(row["kind"], row["visit_site"], row["status"]) for row in rows] == [
        ("frame", None, 200),
        ("document", first.site, 200),
        ("favicon", first.site, 404),
        ("document", second.site, 200),
        ("favicon", second.site, 404),
        ("preflight", second.site, 204),
        ("redirect", second.site, 301),
        ("unknown", second.site, 404),
    ]
    assert rows[0]["url"] == "https://u.openx.net/w/1.0/pd?x=%41+%2B"
    assert str(rows[0]["set_cookie"]).startswith("['i=")
    assert rows[1]["cookie_header"] is None


async def test_two_profiles_never_share_an_identifier(running: Running) -> None:
    values = []
    for person in (next(running.people), next(running.people)):
        async with browser(running.lab, person.profile) as client:
            await client.load("https://u.openx.net/w/1.0/pd")
            values.append({cookie.value for cookie in client.session.cookie_jar})
    assert len(values[0]) >= 4
    assert not values[0] & values[1]
