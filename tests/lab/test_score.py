"""The score counts exactly: rows added or deleted on either side move each question by exactly that."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from earwitness.lab.score import questions, score
from earwitness.lab.truth import TRUTH_TABLES, Truth, seal
from earwitness.lab.world_file import load_world
from earwitness.model.errors import BadInput
from earwitness.model.tables import TABLES
from earwitness.store import Bundle, create

PLATFORM_HOST = "avs-alexa-14-na.amazon.com"
OWNERSHIP_LIST = json.dumps(
    {
        "Amazon": {"properties": ["amazon.com"]},  # its advertising domain is missing: lists are imperfect
        "Ada": {"properties": ["ada.example", "ada-two.example"]},
        "Bo": {"properties": ["bo.example"]},
        "Cy": {"properties": ["cy.example", "cdn.dee.example"]},
        "Nobody": {"properties": ["never-met.example"]},
    }
)
MINTED = {("ada.example", "u"), ("bo.example", "b"), ("amazon-adsystem.com", "ad-id")}
AD_HOST = "web.aps.amazon-adsystem.com"
S = 1_000_000  # µs


def value(name, profile):
    return f"{name}-of-{profile}"


def truth_rows():
    """Two profiles with two visits each (100–200 s and 300–400 s), and some truth outside of them."""
    rows = {name: [] for name in TRUTH_TABLES}

    def asked(at, profile, host, path, method="GET", cookie=None, sets=(), kind="pixel"):
        row = {"at": at * S, "profile": profile, "host": host, "method": method, "url": f"https://{host}{path}"}
        rows["truth_requests"].append(row | {"cookie_header": cookie, "set_cookie": list(sets), "kind": kind})

    for profile in ("p1", "p2"):
        asked(50, profile, "api.amazon.com", "/ap/signin", sets=["session-id=s; Domain=.amazon.com"], kind="sign_in")
        for start in (100, 300):
            u, b = value("u", profile), value("b", profile)
            asked(start, profile, "www.news.example", "/", cookie="euconsent=CP", kind="document")
            asked(start + 1, profile, "t.ada.example", "/a?x=%2f", sets=[f"u={u}; Domain=ada.example; Path=/"])
            asked(start + 2, profile, "t.ada.example", "/a?x=%2f", cookie=f"u={u}")
            asked(start + 3, profile, "px.bo.example", "/b", method="OPTIONS", kind="preflight")
            asked(start + 4, profile, "px.bo.example", "/b", method="POST", sets=[f"b={b}; Path=/", "seen=1"])
            asked(start + 5, profile, AD_HOST, "/dcm", cookie=f"ad-id={value('ad', profile)}")
            asked(start + 6, profile, "www.news.example", "/favicon.ico", kind="favicon")
            asked(start + 7, profile, "dts.podtrac.com", "/x.wav", kind="stream")
            for sender, receiver, name in (
                ("t.ada.example", AD_HOST, "u"),
                ("t.ada.example", "px.bo.example", "u"),
                ("px.bo.example", "in.cy.example", "u"),
                ("px.bo.example", "dee.example", "b"),
                ("t.ada.example", "s.ada-two.example", "u"),
            ):
                edge = {"sender_host": sender, "receiver_host": receiver, "identifier": value(name, profile)}
                rows["truth_syncs"].append(
                    {"at": (start + 9) * S, "profile": profile, "channel": "query", "encoding": "plain"} | edge
                )
            for slot, bidder, cpm in (("top", "openx", 1.25), ("top", "ix", 0.1234), ("side", "openx", None)):
                status = "bid" if cpm else "no_bid"
                row = {"at": (start + 8) * S, "profile": profile, "slot": slot, "bidder": bidder}
                rows["truth_bids"].append(row | {"status": status, "cpm_usd": cpm})
        asked(500, profile, "t.ada.example", "/repeated", sets=["u=late"])
        for skill, host in ((None, PLATFORM_HOST), ("news", PLATFORM_HOST), ("news", "dts.podtrac.com")):
            rows["truth_speaker"].append({"at": 0, "profile": profile, "skill": skill, "host": host})
        rows["truth_speaker"].append({"at": 0, "profile": profile, "skill": "never finished", "host": "x.example"})
    for host, owner in (
        (PLATFORM_HOST, "Amazon"),
        (AD_HOST, "Amazon"),
        ("t.ada.example", "Ada"),
        ("px.bo.example", "Bo"),
        ("in.cy.example", "Cy"),
        ("dee.example", "Dee"),
    ):
        rows["truth_owners"].append({"host": host, "organisation": owner})
    return rows


def measured_rows():
    """What a study that saw everything has in its tables."""
    rows = {name: [] for name in ("visits", "requests", "cookies", "bids", "identifiers", "syncs")}
    rows |= {"interactions": [], "contacts": [], "hosts": [], "creatives": []}
    for profile in ("p1", "p2"):
        u, b = value("u", profile), value("b", profile)
        rows["identifiers"] += [
            {
                "identifier": f"{profile}/u",
                "profile": profile,
                "kind": "stored",
                "owner_host": "t.ada.example",
                "value": u,
            },
            {
                "identifier": f"{profile}/b",
                "profile": profile,
                "kind": "stored",
                "owner_host": "px.bo.example",
                "value": b,
            },
            {"identifier": f"{profile}/ad", "profile": profile, "kind": "stored", "owner_host": "amazon-adsystem.com"}
            | {"value": value("ad", profile)},
            {
                "identifier": f"{profile}/mail",
                "profile": profile,
                "kind": "account",
                "owner_host": None,
                "value": "a@b.c",
            },
        ]
        for number, start in enumerate((100, 300)):
            visit = f"{profile}/{number}"
            window = {"started_at": start * S, "ended_at": (start + 100) * S, "status": "done"}
            rows["visits"].append({"visit": visit, "profile": profile, **window})
            for method, url in (
                ("GET", "https://www.news.example/"),
                ("GET", "https://t.ada.example:443/a?x=%2F"),
                ("GET", "https://t.ada.example/a?x=%2f"),
                ("OPTIONS", "https://px.bo.example/b"),
                ("POST", "https://px.bo.example/b"),
                ("GET", f"https://{AD_HOST}/dcm"),
                ("GET", "data:image/gif;base64,R0lGOD"),
            ):
                rows["requests"].append({"visit": visit, "method": method, "url": url})
            for via, host, name, content in (
                ("http", ".ada.example", "u", u),
                ("http", "px.bo.example", "b", b),
                ("http", "px.bo.example", "seen", "1"),
                ("http", ".amazon.com", "session-id", "token:1"),
                ("script", "www.news.example", "x", "1"),
            ):
                row = {"profile": profile, "visit": visit, "via": via, "host": host, "name": name, "value": content}
                rows["cookies"].append(row)
            for slot, bidder, status, cpm in (
                ("top", "openx", "bid", 1.25),
                ("top", "ix", "bid", 0.1234),
                ("side", "openx", "no_bid", None),
            ):
                row = {"visit": visit, "slot": slot, "bidder": bidder, "status": status, "cpm_usd": cpm}
                rows["bids"].append(row)
            for sender, receiver, name in (
                ("t.ada.example", AD_HOST, "u"),
                ("t.ada.example", "px.bo.example", "u"),
                ("px.bo.example", "in.cy.example", "u"),
                ("px.bo.example", "dee.example", "b"),
                ("t.ada.example", "s.ada-two.example", "u"),
            ):
                edge = {"sender_host": sender, "receiver_host": receiver, "identifier": f"{profile}/{name}"}
                rows["syncs"].append({"profile": profile, **edge})
        rows["interactions"] += [{"profile": profile, "skill": None}, {"profile": profile, "skill": "news"}]
        for skill, host in ((None, PLATFORM_HOST), ("news", PLATFORM_HOST), ("news", "dts.podtrac.com")):
            rows["contacts"].append({"profile": profile, "skill": skill, "host": host})
    for host, organisation in (
        (PLATFORM_HOST, "amazon"),
        ("t.ada.example", "Ada"),
        ("px.bo.example", "Bo"),
        ("in.cy.example", "Cy"),
        ("dee.example", "Dee"),
        ("unknown-to-the-lab.example", "Who"),
    ):
        rows["hosts"].append({"host": host, "organisation": organisation})
    return rows


def tallied(truth, measured):
    """(tp, fp, fn) of every question."""
    answers = questions(
        {name: TABLES[name].arrow(rows) for name, rows in measured.items()},
        {name: pa.Table.from_pylist(rows, schema=TRUTH_TABLES[name]) for name, rows in truth.items()},
        OWNERSHIP_LIST,
        MINTED,
        PLATFORM_HOST,
    )
    return {name: (t.found, len(t.false), len(t.missed)) for name, t in answers.items()}


PERFECT = {
    "speaker_hosts": (6, 0, 0),
    "hops": (24, 0, 0),
    "cookies": (6, 0, 0),
    "bids": (12, 0, 0),
    "identifiers": (6, 0, 0),
    "syncs_host": (8, 0, 0),
    "syncs_org": (4, 0, 0),
    "partners": (1, 0, 0),
    "downstream": (2, 0, 0),
    "ownership": (5, 0, 0),
}


def test_a_study_that_saw_everything_is_perfect():
    assert tallied(truth_rows(), measured_rows()) == PERFECT


def moved(**changes):
    """`PERFECT` with the named questions moved by (tp, fp, fn)."""
    return PERFECT | {
        name: tuple(was + by for was, by in zip(PERFECT[name], change, strict=True)) for name, change in changes.items()
    }


LOST, INVENTED, UNLOGGED, UNSEEN = (-1, 0, 1), (0, 1, 0), (-1, 1, 0), (0, 0, 1)

# (table, a row that is in it once, a row to add, its question): what is deleted and added on either side.
MEASURED = {
    "hops": ("requests", {"visit": "p1/0", "method": "POST", "url": "https://px.bo.example/b"}),
    "bids": ("bids", {"visit": "p2/1", "slot": "top", "bidder": "ix", "status": "bid", "cpm_usd": 0.1234}),
    "speaker_hosts": ("contacts", {"profile": "p1", "skill": "news", "host": "dts.podtrac.com"}),
    "identifiers": ("identifiers", {"identifier": "p2/ad"}),
    "ownership": ("hosts", {"host": "in.cy.example"}),
}
NEW_MEASURED = {
    "hops": ("requests", {"visit": "p1/0", "method": "GET", "url": "https://px.bo.example/new"}),
    "cookies": ("cookies", {"profile": "p1", "visit": "p1/0", "via": "http", "host": "h", "name": "n", "value": "v"}),
    "bids": ("bids", {"visit": "p2/1", "slot": "top", "bidder": "third", "status": "no_bid"}),
    "speaker_hosts": ("contacts", {"profile": "p1", "skill": None, "host": "dts.podtrac.com"}),
    "identifiers": ("identifiers", {"profile": "p1", "kind": "stored", "owner_host": "x.example", "value": "CP"}),
}


def holds(row, part):
    return all(row.get(name) == content for name, content in part.items())


def without(rows, table, part):
    kept = [row for row in rows[table] if not holds(row, part)]
    assert len(kept) == len(rows[table]) - 1
    return rows | {table: kept}


@pytest.mark.parametrize("question", [name for name in MEASURED if name != "ownership"])
def test_a_row_deleted_from_the_tables_is_one_miss(question):
    assert tallied(truth_rows(), without(measured_rows(), *MEASURED[question])) == moved(**{question: LOST})


def test_a_host_that_the_study_never_named_is_not_asked_about():
    assert tallied(truth_rows(), without(measured_rows(), *MEASURED["ownership"])) == moved(ownership=(-1, 0, 0))


@pytest.mark.parametrize("question", NEW_MEASURED)
def test_a_row_added_to_the_tables_is_one_false_claim(question):
    table, row = NEW_MEASURED[question]
    rows = measured_rows()
    rows[table].append(row)
    assert tallied(truth_rows(), rows) == moved(**{question: INVENTED})


@pytest.mark.parametrize(
    ("table", "part", "changes"),
    [
        ("truth_requests", {"profile": "p1", "at": 104 * S}, {"hops": UNLOGGED}),
        ("truth_bids", {"profile": "p1", "at": 108 * S, "slot": "side"}, {"bids": UNLOGGED}),
        ("truth_speaker", {"profile": "p2", "skill": None}, {"speaker_hosts": UNLOGGED}),
        ("truth_owners", {"host": "dee.example"}, {"ownership": (-1, 0, 0)}),
    ],
)
def test_a_row_deleted_from_the_truth_is_one_false_claim(table, part, changes):
    assert tallied(without(truth_rows(), table, part), measured_rows()) == moved(**changes)


@pytest.mark.parametrize(
    ("table", "row", "changes"),
    [
        ("truth_requests", {"method": "GET", "url": "https://q.example/", "host": "q.example"}, {"hops": UNSEEN}),
        (
            "truth_requests",
            {"method": "GET", "url": "https://q.example/", "host": "q.example", "set_cookie": ["n=v"]},
            {"hops": UNSEEN, "cookies": UNSEEN},
        ),
        ("truth_bids", {"slot": "top", "bidder": "third", "status": "bid", "cpm_usd": 2.0}, {"bids": UNSEEN}),
        ("truth_speaker", {"skill": "news", "host": "q.example"}, {"speaker_hosts": UNSEEN}),
        ("truth_speaker", {"skill": "never finished", "host": "q.example"}, {}),
    ],
)
def test_a_row_added_to_the_truth_is_one_miss_but_only_inside_a_visit(table, row, changes):
    for at, expected in ((199 * S, moved(**changes)), (250 * S, PERFECT), (700 * S, PERFECT)):
        if table != "truth_speaker" or at == 199 * S:
            rows = truth_rows()
            rows[table].append({"profile": "p1", "at": at, **row})
            assert tallied(rows, measured_rows()) == expected


def both_visits(rows, table, part, change):
    """`rows` with `change` applied to the rows of `table` that hold `part`, one for each of two visits."""
    hit = [row for row in rows[table] if holds(row, part)]
    assert len(hit) == 2
    kept = [row for row in rows[table] if not holds(row, part)]
    return rows | {table: kept + [row | change for row in hit] if change is not None else kept}


P1_TO_DEE = {"profile": "p1", "receiver_host": "dee.example"}


@pytest.mark.parametrize(
    ("part", "change", "changes"),
    [
        # The other profile still shows the organisations' edge.
        (P1_TO_DEE, None, {"syncs_host": LOST}),
        (P1_TO_DEE, {"identifier": "another"}, {"syncs_host": (-1, 1, 1)}),
        (P1_TO_DEE, {"receiver_host": "new.example"}, {"syncs_host": (-1, 1, 1), "syncs_org": INVENTED}),
        # Within one organisation nothing is a sync; cdn.dee.example is Cy's, by its longer suffix.
        ({"profile": "p1", "receiver_host": "s.ada-two.example"}, None, {}),
        (P1_TO_DEE, {"receiver_host": "a.cdn.dee.example"}, {"syncs_host": (-1, 1, 1)}),
    ],
)
def test_syncs_are_counted_by_host_and_by_organisation(part, change, changes):
    assert tallied(truth_rows(), both_visits(measured_rows(), "syncs", part, change)) == moved(**changes)


def test_partners_and_downstream_follow_from_the_edges():
    def edited(drop=lambda row: False, add=()):
        rows = measured_rows()
        rows["syncs"] = [row for row in rows["syncs"] if not drop(row)] + list(add)
        found = tallied(truth_rows(), rows)
        return found["partners"], found["downstream"]

    def edge(sender, receiver, name):
        return {"profile": "p1", "sender_host": sender, "receiver_host": receiver, "identifier": f"p1/{name}"}

    # Without the edge to the platform nobody is a partner, so nothing is downstream.
    assert edited(drop=lambda row: row["receiver_host"] == AD_HOST) == ((0, 0, 1), (0, 0, 2))
    # Bo sending Ada's identifier on does not make Bo a partner; sending its own does, and what it reaches downstream.
    assert edited(add=[edge("px.bo.example", AD_HOST, "u")]) == ((1, 0, 0), (2, 0, 0))
    assert edited(add=[edge("px.bo.example", AD_HOST, "b")]) == ((1, 1, 0), (1, 1, 1))
    # Over a further hop of the same identifier, but not by an identifier that no partner sent.
    assert edited(add=[edge("in.cy.example", "far.example", "u")]) == ((1, 0, 0), (2, 1, 0))
    assert edited(add=[edge("in.cy.example", "far.example", "b")]) == ((1, 0, 0), (2, 0, 0))
    # Cy is reached over Bo only.
    assert edited(drop=lambda row: row["receiver_host"] == "px.bo.example") == ((1, 0, 0), (0, 0, 2))


def test_a_wrong_price_or_status_is_a_miss_and_a_false_claim():
    for change in ({"cpm_usd": 0.1235}, {"status": "timeout", "cpm_usd": None}, {"slot": "side"}):
        rows = measured_rows()
        table, part = MEASURED["bids"]
        rows[table] = [row | change if holds(row, part) else row for row in rows[table]]
        assert tallied(truth_rows(), rows) == moved(bids=(-1, 1, 1))
    rows[table] = [
        row | {"slot": "top", "cpm_usd": 0.1234 * (1 + 1e-9)} if holds(row, part | change) else row
        for row in rows[table]
    ]
    assert tallied(truth_rows(), rows) == PERFECT


def test_repeated_requests_are_matched_one_by_one():
    rows = measured_rows()
    rows["requests"].append({"visit": "p1/0", "method": "GET", "url": "https://t.ada.example/a?x=%2f"})
    assert tallied(truth_rows(), rows) == moved(hops=INVENTED)


def test_an_incomplete_visit_takes_its_truth_with_it():
    rows = measured_rows()
    rows["visits"] = [row | {"status": "crashed"} if row["visit"] == "p1/1" else row for row in rows["visits"]]
    found = tallied(truth_rows(), rows)
    assert found["hops"] == (18, 0, 0) and found["bids"] == (9, 0, 0)
    # Seen in one visit alone, but part of a sync there: still an identifier. The advertising cookie is in none.
    assert found["identifiers"] == (5, 1, 0)


def test_wrong_owners_are_told_from_unknown_ones():
    for claimed, expected in (("Bo & Sons", (-1, 1, 1)), ("bo.example", (-1, 0, 1)), (None, (-1, 0, 1))):
        rows = measured_rows()
        rows["hosts"] = [
            row | {"organisation": claimed} if row["organisation"] == "Bo" else row for row in rows["hosts"]
        ]
        assert tallied(truth_rows(), rows) == moved(ownership=expected)


def test_only_what_the_study_did_is_asked():
    nothing = {name: [] for name in measured_rows()}
    assert tallied(truth_rows(), nothing) == {}
    assert set(tallied(truth_rows(), nothing | {"interactions": measured_rows()["interactions"]})) == {"speaker_hosts"}
    blind = nothing | {"visits": measured_rows()["visits"]}
    found = tallied(truth_rows(), blind)
    assert found["hops"] == (0, 0, 24) and found["syncs_org"] == (0, 0, 4) and "ownership" not in found


def test_an_unusable_ownership_list_is_refused():
    tables = {name: TABLES[name].arrow(rows) for name, rows in measured_rows().items()}
    truth = {name: pa.Table.from_pylist(rows, schema=TRUTH_TABLES[name]) for name, rows in truth_rows().items()}
    for text in ("", "[]", '{"A": {}}', '{"A": {"properties": [1]}}'):
        with pytest.raises(BadInput, match="ownership list"):
            questions(tables, truth, text, MINTED, PLATFORM_HOST)


# From a study on disk


@pytest.fixture
def directories(tmp_path):
    """A study with its truth, in which the tiny world's first partner syncs, one hop was missed and one invented."""
    world = load_world("tiny", 9)
    cookie = world.organisations["openx"].cookie
    study, truth_dir = tmp_path / "study", tmp_path / "study.truth"
    truth = Truth(truth_dir)
    (truth_dir / "world.json").write_text(json.dumps({"world": "tiny", "seed": 9}))
    for at in (100 * S, 300 * S):
        seen = {"at": at, "profile": "p1", "host": "u.openx.net", "method": "GET", "kind": "frame"}
        truth.write(
            "truth_requests", **seen, url="https://u.openx.net/", cookie_header=f"{cookie.name}=abc", set_cookie=[]
        )
    truth.write("truth_requests", **seen | {"url": "https://u.openx.net/missed", "set_cookie": []})
    truth.close()
    create(study, "title: a study\n", {"lists/ownership.json": '{"OpenX": {"properties": ["openx.net"]}}'})
    with Bundle.open(study, write=True) as bundle, bundle.step("after/p1/1", "crawl") as step:
        windows = [{"started_at": at * S, "ended_at": (at + 50) * S, "status": "done"} for at in (90, 290)]
        step.write("visits", [{"visit": f"v{n}", "profile": "p1"} | window for n, window in enumerate(windows)])
        step.write("requests", [{"visit": f"v{n}", "method": "GET", "url": "https://u.openx.net/"} for n in (0, 1)])
        step.write("requests", [{"visit": "v1", "method": "GET", "url": "https://u.openx.net/invented"}])
        step.write("identifiers", [{"profile": "p1", "kind": "stored", "owner_host": "u.openx.net", "value": "abc"}])
    return study, truth_dir


def test_a_study_is_scored_from_its_directory(directories):
    answer = score(*directories)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert (answer["world"], answer["seed"]) == ("tiny", 9)
    hops = answer["questions"]["hops"]
    assert (hops["tp"], hops["fp"], hops["fn"]) == (2, 1, 1)
    assert hops["precision"] == hops["recall"] == pytest.approx(2 / 3)
    assert hops["misses"] == [
        {"kind": "fn", "profile": "p1", "visit": "v1", "method": "GET", "url": "https://u.openx.net/missed"},
        {"kind": "fp", "profile": "p1", "visit": "v1", "method": "GET", "url": "https://u.openx.net/invented"},
    ]
    assert answer["questions"]["identifiers"]["tp"] == 1
    nothing = answer["questions"]["syncs_org"]
    assert nothing["precision"] is nothing["recall"] is nothing["interval"]["recall"] is None


def test_edited_truth_is_what_counts_until_the_lab_writes_on(directories):
    study, truth_dir = directories
    seal(truth_dir)
    path = truth_dir / "truth_requests.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    assert score(study, truth_dir)["questions"]["hops"]["tp"] == 1
    again = Truth(truth_dir)
    again.write(
        "truth_requests", at=1, profile="p1", url="https://u.openx.net/", method="GET", set_cookie=[], kind="frame"
    )
    again.close()
    assert score(study, truth_dir)["questions"]["hops"]["tp"] == 2


def test_a_folder_without_truth_is_refused(directories, tmp_path):
    study, truth_dir = directories
    with pytest.raises(BadInput, match=r"world\.json"):
        score(study, tmp_path)
    seal(truth_dir)
    (truth_dir / "truth_bids.parquet").write_bytes(b"not parquet")
    with pytest.raises(BadInput, match=r"truth_bids\.parquet"):
        score(study, truth_dir)


def test_misses_are_named_up_to_fifty_and_intervals_are_wilson():
    from earwitness.lab.score_tally import Tally, tally_set, wilson

    tally = tally_set(("key",), {f"t{n:03}" for n in range(90)} | {None}, {f"m{n:03}" for n in range(80)})
    answer = tally.answer()
    kinds = [miss["kind"] for miss in answer["misses"]]
    assert (answer["fn"], answer["fp"], kinds.count("fn"), kinds.count("fp")) == (91, 80, 25, 25)
    assert answer["misses"][0] == {"kind": "fn", "key": None}
    few = Tally(("key",), 1, [("a",)] * 3, [("b",)] * 100).answer()["misses"]
    assert [miss["kind"] for miss in few] == ["fn"] * 3 + ["fp"] * 47
    many = Tally(("key",), 1, [("a",)] * 100, [("b",)] * 3).answer()["misses"]
    assert [miss["kind"] for miss in many] == ["fn"] * 47 + ["fp"] * 3
    assert wilson(0, 0) is None
    # Newcombe 1998, table I: 81/263, 15/148, 0/20, 1/29 (score method without continuity correction).
    for hits, tries, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson(hits, tries) == pytest.approx([low, high], abs=5e-5)
    assert wilson(20, 20) == pytest.approx([0.8389, 1], abs=5e-5)
    assert all(math.isfinite(end) for end in wilson(1, 1))


def test_ads_are_asked_about_where_any_was_seen():
    truth, measured = truth_rows(), measured_rows()
    served = [("p1", 101, "top", "https://www.a.example/x"), ("p1", 102, "side", "https://www.b.example/y")]
    served += [("p2", 250, "top", "https://www.a.example/x")]  # in no visit
    truth["truth_creatives"] = [
        {"profile": profile, "at": at * S, "slot": slot, "landing_url": url} for profile, at, slot, url in served
    ]
    assert "creatives" not in tallied(truth, measured)
    seen = {"visit": "p1/0", "slot": "top", "landing_url": "https://www.a.example/x"}
    assert tallied(truth, measured | {"creatives": [seen]})["creatives"] == (1, 0, 1)
    elsewhere = seen | {"slot": "side"}
    assert tallied(truth, measured | {"creatives": [seen, elsewhere]})["creatives"] == (1, 1, 1)
    nowhere = seen | {"slot": "side", "landing_url": None}
    assert tallied(truth, measured | {"creatives": [seen, nowhere]})["creatives"] == (1, 1, 1)
