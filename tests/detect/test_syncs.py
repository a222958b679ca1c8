"""Who passes an identifier to whom, and what only looks like passing on."""

from urllib.parse import quote

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.detect import reach_query
from earwitness.model.tables import TABLES
from tests.detect.browsing import History

ANN, BEN = "9f86d081884c7d65", "2c26b46b68ffc68f"
ANN_PLATFORM, BEN_PLATFORM = "k3v9x2q8mz71", "p0w4t8n6ya25"


@pytest.fixture
def story():
    """Two profiles whom Acorn and the platform recognise."""
    history = History()
    for profile, acorn, platform in (("ann", ANN, ANN_PLATFORM), ("ben", BEN, BEN_PLATFORM)):
        for visit in (history.visit(profile), history.visit(profile)):
            history.cookie(visit, "acorn.example", "uid", acorn)
            history.cookie(visit, "platform.example", "ad-id", platform)
    return history


def test_a_redirect_hands_the_identifier_over(story):
    visit = story.visit("ann")
    last = story.redirect(visit, "https://sync.acorn.example/go", f"https://ads.platform.example/cm?u={ANN}&cb=17")
    (row,) = story.sync_table().to_pylist()
    assert (row["sender_host"], row["receiver_host"]) == ("sync.acorn.example", "ads.platform.example")
    assert (row["sender"], row["receiver"], row["owner"]) == ("Acorn", "Platform", "Acorn")
    assert (row["channel"], row["encoding"], row["profile"]) == ("query", "plain", "ann")
    assert (row["request"], row["evidence"], row["locator"]) == (last, f"sha-{visit}", last)


@pytest.mark.parametrize(
    ("url", "body", "channel", "encoding"),
    [
        (f"https://px.birch.example/match/{ANN}/1.gif", None, "path", "plain"),
        (f"https://px.birch.example/?d=v1|{ANN}|en", None, "query", "plain"),
        ("https://px.birch.example/b", f'{{"ids":["{ANN}"]}}', "body", "plain"),
        (f"https://px.birch.example/?d=v1%7C{ANN}%7Cen", None, "query", "url"),
        (
            "https://px.birch.example/?next=" + quote(f"https://z.example/?u={ANN}", safe=""),
            None,
            "query",
            "url",
        ),
        (
            "https://px.birch.example/?next=" + quote("https://z.example/?n=" + quote(f"y?u={ANN}", safe=""), safe=""),
            None,
            "query",
            "url_twice",
        ),
    ],
)
def test_channels_and_encodings(story, url, body, channel, encoding):
    story.request(story.visit("ann"), url, body=body, frame_url="https://sync.acorn.example/frame")
    assert story.syncs() == [("Acorn", "Birch", channel, encoding)]


@pytest.mark.parametrize(
    "url",
    [
        f"https://px.birch.example/?u={ANN}00ff",  # a longer value that starts with it
        f"https://px.birch.example/?u=x{ANN}",
        f"https://px.birch.example/{ANN[:-1]}",
        "https://px.birch.example/?cb=1777885201123&gdpr_consent=CQJ8xMAQJ8xMAAGABCENBSFsAP_gAEPgAAAAKiNV",
        f"https://px.birch.example/#u={ANN}",  # a fragment is never sent
        f"https://px.birch.example/?u={BEN}",  # another profile's
        f"https://cdn.acorn-static.example/?u={ANN}",  # the sender's own second domain
        f"https://sync.acorn.example/?u={ANN}",
    ],
)
def test_what_is_no_sync(story, url):
    story.request(story.visit("ann"), url, frame_url="https://sync.acorn.example/frame")
    assert story.syncs() == []


def test_a_cookie_that_goes_home_is_no_sync(story):
    story.request(story.visit("ann"), "https://sync.acorn.example/p", cookies_sent=f"uid={ANN}")
    assert story.syncs() == []


def test_an_identifier_that_comes_home_is_no_sync(story):
    visit = story.visit("ann")
    story.redirect(
        visit,
        "https://sync.acorn.example/go",
        f"https://ads.platform.example/cm?u={ANN}",
        f"https://sync.acorn.example/back?yours={ANN}&ours={ANN_PLATFORM}",
    )
    assert story.syncs() == [("Acorn", "Platform", "query", "plain"), ("Platform", "Acorn", "query", "plain")]


def test_a_constant_that_everybody_sends(story):
    for profile in ("ann", "ben"):
        visit = story.visit(profile)
        story.cookie(visit, "acorn.example", "build", "f00dcafe12345678")
        story.request(visit, "https://px.birch.example/?b=f00dcafe12345678", initiator="https://sync.acorn.example/s")
    assert story.syncs() == []


def test_the_script_that_asked_is_the_sender_not_the_page(story):
    page, script = "https://news.example/", "https://scripts.example/tag.js"
    story.request(story.visit("ann"), f"https://px.birch.example/?u={ANN}", initiator=script, frame_url=page)
    assert story.syncs() == [("Scripts", "Birch", "query", "plain")]


def test_a_page_that_cannot_know_the_identifier_was_handed_it_by_the_owner(story):
    # Acorn answered the page's bid request with the address of a pixel; the page only put it in.
    visit = story.visit("ann")
    story.request(visit, f"https://px.birch.example/?u={ANN}", initiator="https://news.example/app.js")
    (row,) = story.sync_table().to_pylist()
    assert (row["sender"], row["sender_host"], row["receiver"]) == ("Acorn", "acorn.example", "Birch")


def test_a_page_that_was_told_the_identifier_can_pass_it_on(story):
    visit = story.visit("ann")
    story.request(visit, f"https://news.example/hello?u={ANN}", frame_url="https://sync.acorn.example/frame")
    story.request(visit, f"https://px.birch.example/?u={ANN}", initiator="https://news.example/app.js")
    assert story.syncs() == [("Acorn", "Newsroom", "query", "plain"), ("Newsroom", "Birch", "query", "plain")]


def test_a_page_passes_on_what_is_its_own():
    history = History()
    for profile, value in (("ann", ANN), ("ben", BEN)):
        for visit in history.keeps(profile, "news.example", "reader", value):
            script = "https://static.news.example/app.js"
            history.request(visit, f"https://px.birch.example/?r={value}", initiator=script)
    assert history.syncs() == [("Newsroom", "Birch", "query", "plain")] * 2
    assert set(history.sync_table()["sender_host"].to_pylist()) == {"static.news.example"}


def test_a_sandboxed_frame_has_no_host_so_the_page_answers_for_it(story):
    visit = story.visit("ann")
    story.request(visit, f"https://px.birch.example/?u={ANN}", frame_url="about:srcdoc", initiator=None)
    assert story.syncs() == [("Acorn", "Birch", "query", "plain")]


def test_over_further_hops_each_sender_is_the_one_that_sent_it_on(story):
    story.redirect(
        story.visit("ann"),
        "https://sync.acorn.example/go",
        f"https://px.birch.example/m/{ANN}",
        f"https://in.cedar.example/?from=birch&u={ANN}",
    )
    assert story.syncs() == [("Acorn", "Birch", "path", "plain"), ("Birch", "Cedar", "query", "plain")]


def test_a_value_that_two_parties_keep_belongs_to_the_first(story):
    # The platform stores Acorn's value beside its own; the match travelled before.
    for _ in range(2):
        visit = story.visit("ann")
        story.redirect(visit, "https://sync.acorn.example/go", f"https://ads.platform.example/cm?u={ANN}")
        story.cookie(visit, "ads.platform.example", "m", ANN)
    assert story.syncs() == [("Acorn", "Platform", "query", "plain")]
    assert story.sync_table()["owner"].to_pylist() == ["Acorn"]


def test_whoever_had_it_first_whatever_its_name(story):
    for _ in range(2):
        story.cookie(story.visit("ann"), "acorn.example", "match", ANN_PLATFORM)
    visit = story.visit("ann")
    story.redirect(visit, "https://ads.platform.example/x", f"https://sync.acorn.example/?p={ANN_PLATFORM}")
    assert story.syncs() == [("Platform", "Acorn", "query", "plain")]
    assert story.sync_table()["owner"].to_pylist() == ["Platform"]


def test_a_location_whose_hop_was_not_recorded_is_told_from_the_answer(story):
    visit = story.visit("ann")
    told = story.request(visit, "https://sync.acorn.example/go", location=f"//px.birch.example/?u={ANN}", status=302)
    (row,) = story.sync_table().to_pylist()
    assert (row["sender"], row["receiver"], row["channel"], row["request"]) == ("Acorn", "Birch", "location", told)


def test_the_referer_sends_what_stands_in_the_pages_address(story):
    visit = story.visit("ann")
    page = f"https://sync.acorn.example/frame?u={ANN}"
    story.request(visit, "https://px.birch.example/p.gif", referer=page, initiator="https://scripts.example/tag.js")
    assert story.syncs() == [("Acorn", "Birch", "referer", "plain")]


def test_the_first_proof_of_a_repeated_sync(story):
    first = None
    for _ in range(3):
        visit = story.visit("ann")
        last = story.redirect(visit, "https://sync.acorn.example/go", f"https://px.birch.example/?u={ANN}")
        first = first or last
    (row,) = story.sync_table().to_pylist()
    assert row["request"] == first


def test_the_login_mail_travels_too():
    history = History()
    history.profile("ann", "Ann.Lee@mail.example")
    history.profile("ben", "ben@mail.example")
    url = "https://px.birch.example/?e=ann.lee%40mail.example"
    history.request(history.visit("ann"), url, frame_url="https://news.example/")
    (row,) = history.sync_table().to_pylist()
    assert (row["sender"], row["receiver"], row["owner"], row["encoding"]) == ("Newsroom", "Birch", None, "url")


def test_the_studys_own_navigation_has_no_sender(story):
    story.visit("ann", f"https://news.example/?u={ANN}")
    assert story.syncs() == []


def test_a_host_that_no_list_knows_is_its_own_organisation(story):
    story.redirect(story.visit("ann"), "https://sync.acorn.example/go", f"https://a.b.unknown.example/?u={ANN}")
    assert story.syncs() == [("Acorn", "unknown.example", "query", "plain")]


def in_role(role, syncs, platform):
    """Organisations that the query puts in a role."""
    with duckdb.connect() as database:
        database.register("syncs", syncs)
        return [name for name, found in database.sql(reach_query(platform)).fetchall() if found == role]


def partners(syncs, platform):
    return in_role("partner", syncs, platform)


def downstream(syncs, platform):
    return in_role("downstream", syncs, platform)


def test_partners_send_their_own_and_downstream_is_reached_from_them(story):
    visit = story.visit("ann")
    story.redirect(visit, "https://sync.acorn.example/go", f"https://ads.platform.example/cm?u={ANN}")
    story.redirect(
        visit,
        "https://sync.acorn.example/go2",
        f"https://px.birch.example/?u={ANN}",
        f"https://in.cedar.example/?u={ANN}",
        f"https://ads.platform.example/cm?third={ANN}",
    )
    # The platform hands its own identifier to Scripts: no partner sent that.
    story.redirect(visit, "https://ads.platform.example/x", f"https://scripts.example/?p={ANN_PLATFORM}")
    table = story.sync_table()
    # Cedar passes Acorn's identifier to the platform, not its own: no partner.
    assert partners(table, "Platform") == ["Acorn"]
    assert downstream(table, "Platform") == ["Birch", "Cedar"]


def test_downstream_follows_one_identifier_not_any(story):
    visit = story.visit("ann")
    story.redirect(visit, "https://sync.acorn.example/go", f"https://ads.platform.example/cm?u={ANN}")
    story.redirect(visit, "https://sync.acorn.example/go", f"https://px.birch.example/?u={ANN}")
    for profile, value in (("ann", "b1rch4ann000777x"), ("ben", "b1rch4ben111888y")):
        for visit in (story.visit(profile), story.visit(profile)):
            story.cookie(visit, "birch.example", "id", value)
            story.redirect(visit, "https://px.birch.example/y", f"https://in.cedar.example/?b={value}")
    assert downstream(story.sync_table(), "Platform") == ["Birch"]


def test_nothing_in_nothing_out():
    table = History().sync_table()
    assert table.num_rows == 0
    assert table.schema == TABLES["syncs"].schema
    assert partners(table, "Platform") == downstream(table, "Platform") == []


def test_a_platform_name_is_text_not_sql(story):
    story.redirect(story.visit("ann"), "https://sync.acorn.example/go", f"https://ads.platform.example/cm?u={ANN}")
    assert partners(story.sync_table(), "' or true --") == []


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random):
    story = History()
    for profile, value in (("ann", ANN), ("ben", BEN)):
        for visit in story.keeps(profile, "acorn.example", "uid", value):
            story.request(visit, f"https://news.example/hello?u={value}", frame_url="https://sync.acorn.example/f")
            story.request(visit, f"https://px.birch.example/?u={value}", initiator="https://news.example/app.js")
            story.redirect(visit, "https://px.birch.example/g", f"https://in.cedar.example/{value}")
    expected = story.sync_table()
    assert expected.num_rows == 6
    for rows in story.rows.values():
        random.shuffle(rows)
    assert story.sync_table().equals(expected)
