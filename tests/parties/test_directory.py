import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.model.errors import BadInput
from earwitness.model.tables import TABLES
from earwitness.parties import Directory
from earwitness.parties.filter_lists import DEBIAN, FilterList, FilterLists, read_filter_list
from earwitness.parties.ownership import read_entities, read_third_party_web
from earwitness.parties.third_party_web import installed

FACTS = Path(__file__).parents[2].parent / "shared/facts/speaker-hosts.csv"


def ask(host, **lists):
    (row,) = Directory.load(**lists).hosts([host]).to_pylist()
    return row


@pytest.fixture
def ownership(tmp_path):
    path = tmp_path / "owners.json"
    entities = {
        "Quill & Fern Ltd": {"properties": ["quillfern.example", "qf-cdn.example"], "prevalence": 0.1},
        "Marmot Holdings, Inc.": {"properties": ["marmot.example"], "displayName": "Marmot"},
        "Amazon.com, Inc.": {"properties": ["amazon.com"]},
        "Latecomer": {"properties": ["marmot.example"]},
    }
    path.write_text(json.dumps(entities))
    return path


@pytest.fixture
def filters(tmp_path):
    path = tmp_path / "filters.txt"
    path.write_text(
        "[Adblock Plus 2.0]\n! Title: Household list\n! Last modified: 31 Oct 2025 12:00 UTC\n"
        "||px.quillfern.example^\n||marmot.example^$third-party\n@@||safe.marmot.example^\n$ping,third-party\n"
        "||shop.example/pixel/\n"
    )
    return path


def test_our_list_knows_speaker_hosts():
    row = ask("play.podtrac.com")
    assert (row["site"], row["organisation"], row["purpose"]) == ("podtrac.com", "Podtrac", "advertising_tracking")
    assert (row["source"], row["source_date"]) == ("IMC 2023 study", "2023")
    assert (row["purpose_source"], row["purpose_source_date"]) == ("IMC 2023 study", "2023")


def test_the_platform_is_one_organisation():
    hosts = ["api.amazon.com", "mads.amazon-adsystem.com", "payments-amazon.com", "o.ss2.us", "prod.amcs-tachyon.com"]
    assert set(Directory.load().hosts(hosts)["organisation"].to_pylist()) == {"Amazon"}


@pytest.mark.parametrize(
    ("host", "organisation", "purpose"),
    [
        ("pitangui.amazon.com", "Amazon", "functional"),
        ("mobileanalytics.us-east-1.amazonaws.com", "Amazon", "advertising_tracking"),
        ("mads.amazon-adsystem.com", "Amazon", "advertising_tracking"),
        ("ecx.images-amazon.com", "Amazon", "content"),
        ("www.amazon.com", "Amazon", "unknown"),
        ("fireoscaptiveportal.com", "Amazon", "advertising_tracking"),
        ("guzzoni.apple.com", "Apple", "functional"),
        ("time-ios.g.aaplimg.com", "Apple", "unknown"),
        ("mtalk.google.com", "Google", "functional"),
    ],
)
def test_hosts_seen_in_real_captures(host, organisation, purpose):
    row = ask(host)
    assert (row["organisation"], row["purpose"]) == (organisation, purpose)


def test_cloud_customers_are_not_the_cloud():
    hosts = ["dxyz.cloudfront.net", "vendor.s3.amazonaws.com", "ec2-1-2-3-4.compute-1.amazonaws.com"]
    assert "Amazon" not in Directory.load().hosts(hosts)["organisation"].to_pylist()
    # Listed one by one, such a host does have an owner.
    assert ask("d28756ok3q8pa.cloudfront.net")["organisation"] == "Amazon"


def test_nobody_knows_the_host():
    row = ask("beacon.nobody.example")
    assert row["organisation"] == row["site"] == "nobody.example"
    assert (row["source"], row["purpose"]) == ("registrable_domain", "unknown")
    assert row["rule"] is row["source_date"] is row["purpose_source"] is None


def test_the_users_lists_come_first(ownership, filters):
    row = ask("px.quillfern.example", ownership=[ownership], filters=[filters])
    assert (row["organisation"], row["source"]) == ("Quill & Fern Ltd", "owners.json")
    assert (row["purpose"], row["rule"]) == ("advertising_tracking", "||px.quillfern.example^")
    assert (row["purpose_source"], row["purpose_source_date"]) == ("Household list", "2025-10-31")
    # Another domain of the same owner; another host that no rule names.
    assert ask("a.qf-cdn.example", ownership=[ownership])["organisation"] == "Quill & Fern Ltd"
    assert ask("www.quillfern.example", ownership=[ownership], filters=[filters])["purpose"] == "unknown"


def test_names_of_one_owner_are_merged(ownership):
    assert ask("www.amazon.com", ownership=[ownership])["organisation"] == "Amazon"
    assert ask("t.marmot.example", ownership=[ownership])["organisation"] == "Marmot"


def test_rules_are_asked_of_the_host_alone(filters):
    # Some addresses of a shop are pixels; an exception lifts a rule; a rule about every ping names no host.
    assert ask("shop.example", filters=[filters])["purpose"] == "unknown"
    assert ask("safe.marmot.example", filters=[filters])["purpose"] == "unknown"
    assert ask("bystander.example", filters=[filters])["purpose"] == "unknown"
    assert ask("t.marmot.example", filters=[filters])["rule"] == "||marmot.example^$third-party"


def test_a_rule_without_a_host_counts_for_nothing():
    lists = FilterLists([FilterList("l", None, "$script,third-party\n")])
    assert lists.rule("anything.example") is None


def test_one_row_per_host_sorted_and_typed(ownership):
    table = Directory.load(ownership=[ownership]).hosts(["b.example", "a.example", "b.example"])
    assert table.schema == TABLES["hosts"].schema
    assert table["host"].to_pylist() == ["a.example", "b.example"]
    assert Directory.load().hosts([]).num_rows == 0


@pytest.mark.skipif(not FACTS.is_file(), reason="the shared facts are not beside the project")
def test_every_host_of_the_study_is_answered_as_labelled():
    import csv

    with FACTS.open() as file:
        facts = {row["host"]: (row["organisation"], row["usual_purpose"]) for row in csv.DictReader(file)}
    rows = Directory.load().hosts(facts).to_pylist()
    assert {row["host"]: (row["organisation"], row["purpose"]) for row in rows} == facts


@pytest.mark.skipif(not any(DEBIAN.glob("*.txt")), reason="webext-ublock-origin-chromium is not installed")
def test_easyprivacy_decides_where_nobody_else_does():
    row = ask("fls-na.amazon.com")
    assert (row["purpose"], row["rule"], row["purpose_source"]) == (
        "advertising_tracking",
        "||fls-na.amazon.com^",
        "EasyPrivacy",
    )
    assert row["purpose_source_date"][:2] == "20"


@pytest.mark.skipif(installed() is None, reason="npm's third-party-web is not installed")
def test_third_party_web_names_web_companies():
    row = ask("ad.doubleclick.net")
    assert row["organisation"] == "Google"
    assert row["source"].startswith("third-party-web 0.")
    # Its category for all of apple.com ("ad") would be wrong for push messages.
    assert ask("cma.itunes.apple.com")["purpose"] == "unknown"


def test_third_party_web_a_domain_of_one_owner_belongs_to_it_altogether(tmp_path):
    path = tmp_path / "entities.json"
    path.write_text(
        json.dumps(
            [
                {"name": "Ads", "company": "Bramble", "category": "ad", "domains": ["ads.bramble.example"]},
                {"name": "Maps", "company": "Bramble", "category": "utility", "domains": ["maps.bramble.example"]},
                {"name": "A", "category": "ad", "domains": ["a.shared.example"]},
                {"name": "B", "category": "cdn", "domains": ["*.b.shared.example"]},
            ]
        )
    )
    known = read_third_party_web(path, "list", None)
    assert known.find("www.bramble.example").organisation == "Bramble"
    assert known.find("www.bramble.example").purpose is None
    assert known.find("x.b.shared.example").purpose == "functional"
    assert known.find("www.shared.example") is None


def test_a_missing_public_list_is_a_gap(tmp_path, monkeypatch):
    monkeypatch.setattr("earwitness.parties.directory.installed", lambda: None)
    monkeypatch.setattr("earwitness.parties.directory.DEBIAN", tmp_path)
    directory = Directory.load()
    assert [gap["subject"] for gap in directory.gaps] == ["third-party-web", "EasyList"]
    assert TABLES["gaps"].arrow(directory.gaps).num_rows == 2
    assert directory.hosts(["u.openx.net"])["organisation"].to_pylist() == ["openx.net"]


def test_third_party_web_is_found_above_the_package(tmp_path):
    assert installed(tmp_path / "src/pkg/module.py") is None
    package = tmp_path / "node_modules/third-party-web"
    (package / "dist").mkdir(parents=True)
    (package / "dist/entities-nostats.json").write_text("[]")
    (package / "package.json").write_text('{"version": "9.9.9"}')
    (package / "README.md").write_text("## 2030-01-02 dataset\n## 2020-01-01 dataset\n")
    found = installed(tmp_path / "src/pkg/module.py")
    assert (found.source, found.date) == ("third-party-web 9.9.9", "2030-01-02")


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"", "line 1 column 1"),
        (b'{"A": {"properties": ["x"]},}', "line 1 column 29"),
        (b"[1, 2]", "top level"),
        (b'{"A": {"properties": "x.example"}}', "entity 'A'"),
        (b'{"A": {"properties": [1]}}', "entity 'A'"),
        (b'{"A": []}', "entity 'A'"),
        (b'{"\xff": 1}', "byte 2"),
        (b"[" * 100_000, "nesting"),
    ],
)
def test_bad_ownership_list(tmp_path, content, position):
    path = tmp_path / "owners.json"
    path.write_bytes(content)
    with pytest.raises(BadInput) as error:
        Directory.load(ownership=[path])
    assert error.value.position == position
    assert error.value.file == str(path)


@pytest.mark.parametrize(
    ("content", "position"),
    [
        (b"", "line 1"),
        (b"! Title: only comments\n", "line 1"),
        (b"\n<html><body>Not found</body></html>", "line 2"),
        (b"||a.example^\n\xff\n", "byte 13"),
        (b"||a.example^\n\x00", "byte 13"),
    ],
)
def test_bad_filter_list(tmp_path, content, position):
    path = tmp_path / "filters.txt"
    path.write_bytes(content)
    with pytest.raises(BadInput) as error:
        Directory.load(filters=[path])
    assert error.value.position == position


def test_missing_files_are_bad_input(tmp_path):
    with pytest.raises(BadInput):
        Directory.load(ownership=[tmp_path / "none.json"])
    with pytest.raises(BadInput):
        Directory.load(filters=[tmp_path / "none.txt"])


@given(st.binary(max_size=200))
def test_foreign_bytes_are_read_or_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("lists") / "list"
    path.write_bytes(content)
    for read in (read_entities, read_filter_list, lambda path: read_third_party_web(path, "list", None)):
        try:
            read(path)
        except BadInput as error:
            assert error.position  # noqa: PT017
