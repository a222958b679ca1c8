import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from earwitness.detect import reach_query
from earwitness.model.tables import TABLES, TEXT, TEXTS
from earwitness.report import findings_json, render, write_report
from earwitness.report.conduct import _captured_by
from earwitness.report.visible import plain_number
from earwitness.store import Bundle, create
from tests.report.sample import STUDY, make_bundle, sample_rows

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg/onload=alert(1)>{{7*7}}{% raw %}</style></script>-->"
    'javascript:alert(1) \u202egnp.exe\u2066 =HYPERLINK("https://evil.test","x") \x1b[31m &#60;b&#62; '
    "'; drop table bids; --"
)
ELEMENTS = """
    html head meta title style script body aside header main section nav footer h1 h2 h3 h4 p strong code span a bdi div
    ol ul li dl dt dd details summary pre table caption thead tbody tr th td button figure picture source img figcaption
    svg defs marker g path circle text
"""
ATTRIBUTES = """
    lang charset http-equiv content name href id class role scope aria-label aria-labelledby aria-hidden tabindex type
    popover popovertarget popovertargetaction data-column data-label value open media srcset src alt
    viewbox width height refx refy markerwidth markerheight markerunits orient d x y cx cy r stroke-width data-from
    data-to data-name
"""


class Page(HTMLParser):
    """What a browser would see: elements, attributes, and the text of each popover's query."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.numbers: list[dict[str, str]] = []
        self.queries: dict[str, str] = {}
        self.text = ""
        self.raw: dict[str, str] = {}
        self._popover, self._query, self._raw = "", "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        self._raw = tag if tag in ("script", "style") else ""
        if "popover" in found:
            self._popover = found["id"] or ""
        if tag == "code" and found.get("class") == "sql":
            self._query = self._popover
        if tag == "button" and found.get("class") == "number":
            self.numbers.append({key: value or "" for key, value in found.items()})

    def handle_endtag(self, tag: str) -> None:
        if tag == "code":
            self._query = ""
        self._raw = ""

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.raw[self._raw] = self.raw.get(self._raw, "") + data
        else:
            self.text += data
        if self._query:
            self.queries[self._query] = self.queries.get(self._query, "") + data


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("report") / "study")


@pytest.fixture(scope="module")
def page(bundle: Bundle) -> Page:
    return Page(render(bundle))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The sample with hostile text in every text column that joins nothing, and a row that is hostile all over."""
    rows = sample_rows()
    joins = {
        "persona",
        "control",
        "profile",
        "host",
        "visit",
        "skill",
        "identifier",
        "request",
        "phase",
        "status",
        "unit",
    }
    for name, content in rows.items():
        for column in TABLES[name].columns:
            for row in content:
                if column.type == TEXT and column.name not in joins:
                    row[column.name] = f"{row.get(column.name) or ''}{HOSTILE}"
                elif column.type == TEXTS:
                    row[column.name] = [HOSTILE]
    for name in rows:
        schema = TABLES[name].schema
        rows[name].append({n: HOSTILE for n, t in zip(schema.names, schema.types, strict=True) if t == TEXT})
    study = {"title": HOSTILE, "question": HOSTILE, "world": {"name": HOSTILE, "seed": HOSTILE}}
    study["platform"] = {"organisation": f"Amazon{HOSTILE}"}
    return make_bundle(tmp_path_factory.mktemp("hostile") / "study", rows, study)


@pytest.fixture(scope="module")
def hostile_page(hostile: Bundle) -> Page:
    return Page(render(hostile))


def test_five_claims_come_first_and_in_order(bundle: Bundle, page: Page) -> None:
    claims = {row["finding"]: row["claim"] for row in bundle.table("findings").to_pylist()}
    places = [page.text.index(claims[name]) for name in ("received", "sharing", "bids", "unseen", "next")]
    assert places == sorted(places)
    assert places[-1] < page.text.index("Every underlined number opens")
    for sure in bundle.table("findings")["confidence"].to_pylist():
        assert f"How sure: {sure}" in page.text


def test_simulated_studies_say_so_before_anything_else(bundle: Bundle, page: Page, tmp_path: Path) -> None:
    assert page.text.index("Every company in this study is simulated") < page.text.index(STUDY["title"], 200)
    assert "World tiny, seed 20231024" in page.text
    rows = {**sample_rows(), "bids": []}
    real = Page(render(make_bundle(tmp_path / "real", rows, {**STUDY, "world": None})))
    assert "imulated" not in real.text
    assert "earwitness score" not in real.text


def test_each_number_is_what_its_query_gives(bundle: Bundle, page: Page) -> None:
    assert len(page.numbers) > 150
    answers: dict[str, Any] = {}
    for number in page.numbers:
        target = number["popovertarget"]
        if target not in answers:
            (answers[target],) = bundle.sql(page.queries[target]).to_pylist()
        assert plain_number(answers[target][number["data-column"]]) == number["value"], number
    assert answers.keys() == page.queries.keys()


def test_hostile_numbers_too_are_what_their_queries_give(hostile: Bundle, hostile_page: Page) -> None:
    for number in hostile_page.numbers[::7]:
        (answer,) = hostile.sql(hostile_page.queries[number["popovertarget"]]).to_pylist()
        assert plain_number(answer[number["data-column"]]) == number["value"]


def test_every_number_opens_to_evidence(page: Page) -> None:
    popovers = re.split(r'<div popover id="from-', page.html)[1:]
    assert len(popovers) > 50
    for popover in popovers:
        # Who was assigned to which persona is decided by the study: there is nothing to read it from.
        if not popover.startswith("persona-"):
            assert re.search(r"<bdi>[0-9a-f]{64}</bdi>", popover), popover[:100]
            assert re.search(r"<bdi>(packet|event) \d+</bdi>", popover), popover[:100]


def test_nothing_foreign_becomes_markup(hostile_page: Page) -> None:
    for tag, attributes in hostile_page.elements:
        assert tag in ELEMENTS.split(), tag
        assert attributes.keys() <= set(ATTRIBUTES.split()), (tag, attributes)
        if tag == "a":
            assert re.fullmatch("#[a-z-]+", attributes["href"] or "")
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/svg+xml;base64,")
    counts = [sum(tag == name for tag, _ in hostile_page.elements) for name in ("script", "style", "img")]
    assert counts == [1, 1, 1]
    assert "alert(1)" in hostile_page.text
    assert "{{7*7}}" in hostile_page.text
    assert "⟨U+202E⟩gnp.exe" in hostile_page.text
    hidden = set(hostile_page.html) & {chr(c) for c in (*range(9), *range(11, 32), 0x202E, 0x2066, 0xFEFF)}
    assert not hidden


def test_hostile_and_plain_pages_are_built_of_the_same_elements(page: Page, hostile_page: Page) -> None:
    plain = {(tag, *sorted(attributes)) for tag, attributes in page.elements}
    evil = {(tag, *sorted(attributes)) for tag, attributes in hostile_page.elements}
    assert evil - plain <= {("details", "class"), ("li",)}


def test_the_policy_allows_our_style_and_script_and_nothing_else(page: Page) -> None:
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest(page.raw['style'])}'; "
        f"script-src 'sha256-{digest(page.raw['script'])}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    tags = [tag for tag, _ in page.elements]
    assert tags.index("meta") < tags.index("style") < tags.index("script")


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    for _, attributes in page.elements:
        for name in ("src", "srcset", "href"):
            if name in attributes:
                assert (attributes[name] or "").startswith(("data:", "#"))


def test_pictures_carry_no_script_and_name_no_foreign_place(page: Page) -> None:
    sources = [a.get("src") or a.get("srcset") or "" for tag, a in page.elements if tag in ("img", "source")]
    assert len(set(sources)) == 4
    for source in sources:
        svg = base64.b64decode(source.split(",")[1]).decode()
        assert svg.startswith("<svg") and "<script" not in svg
        assert set(re.findall(r'https?://[^"]+', svg)) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
        assert svg.count('aria-roledescription="circle"') == 18


def test_the_chart_says_its_figures_in_words(page: Page) -> None:
    (alt,) = [a["alt"] or "" for tag, a in page.elements if tag == "img"]
    assert "fashion, before: 3 profiles from $" in alt
    assert "control, after: 6 profiles from $" in alt


def test_tables_can_be_heard(page: Page) -> None:
    tables = [a for tag, a in page.elements if tag == "table"]
    captions = [a for tag, a in page.elements if tag == "caption"]
    assert len(tables) == len(captions)
    assert all("scope" in a for tag, a in page.elements if tag == "th")
    assert ("html", {"lang": "en"}) in page.elements
    assert {"main", "nav", "header", "footer"} <= {tag for tag, _ in page.elements}
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(names) == len(set(names))
    for _, attributes in page.elements:
        for reference in ("aria-labelledby", "popovertarget"):
            assert attributes.get(reference, names[0]) in names


def test_partners_and_downstream_are_marked(page: Page) -> None:
    assert "3 organisations are partners" in page.text
    assert "4 further organisations are downstream" in page.text
    for row in ("Oxbow Ads partner Amazon platform", "Oxbow Ads partner Fernhill downstream"):
        assert row in " ".join(page.text.split())


def test_partners_and_downstream_are_those_of_detect(tmp_path: Path) -> None:
    """The same answer as `detect` gives, on paths that a careless query gets wrong."""

    def sync(owner: str, sender: str, receiver: str) -> dict[str, str]:
        return {"identifier": f"{owner}'s", "owner": owner, "sender": sender, "receiver": receiver, "profile": "p"}

    rows = [
        sync("A", "A", "Amazon"),
        sync("A", "A", "C"),
        sync("A", "C", "D"),  # a further hop of the same identifier
        sync("C", "C", "E"),  # C's own: it does not come from a partner
        sync("Amazon", "Amazon", "B"),
        sync("G", "G", "H"),
        sync("G", "H", "Amazon"),  # passed on, not H's own: H is no partner
        sync("A", "D", "A"),  # a circle
    ]
    bundle = make_bundle(tmp_path / "s", {"syncs": rows})
    roles = bundle.sql(reach_query("Amazon")).to_pylist()
    assert [(r["organisation"], r["role"]) for r in roles] == [
        ("A", "partner"),
        ("C", "downstream"),
        ("D", "downstream"),
    ]
    text = Page(render(bundle)).text
    assert "1 organisation is a partner" in text
    assert "2 further organisations are downstream" in text


def test_the_wrong_unit_is_named(page: Page) -> None:
    assert page.text.count("for comparison only") == page.text.count("Says little") == 1
    assert page.text.count("confirmatory: frozen before collection") == 1
    assert ("span", {"class": "tag warning"}) in page.elements


def test_too_few_profiles_are_said_to_decide_nothing(tmp_path: Path) -> None:
    test = {**sample_rows()["tests"][0], "p": 0.5, "p_adjusted": 0.5, "p_attainable": 1 / 6}
    text = Page(render(make_bundle(tmp_path / "s", {**sample_rows(), "tests": [test], "bids": []}))).text
    assert "this few profiles cannot show a difference" in text


def test_an_empty_study_says_so_in_words(tmp_path: Path) -> None:
    page = Page(render(make_bundle(tmp_path / "empty", {}, {"title": "Nothing yet"})))
    for sentence in (
        "This study has no finding yet",
        "No traffic of a speaker was recorded",
        "No identifier of a profile was seen",
        "No bid was asked for",
        "No hypothesis was tested",
        "No gap was written down",
        "Nothing was run yet",
    ):
        assert sentence in page.text
    assert page.numbers == []


def test_bids_that_all_failed_leave_no_chart_but_a_table(tmp_path: Path) -> None:
    rows = sample_rows()
    for row in rows["bids"]:
        row.update(status="no_bid", cpm_usd=None)
    page = Page(render(make_bundle(tmp_path / "s", rows)))
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert "0 %" in page.text


def test_a_query_that_fails_is_shown_as_failing(tmp_path: Path) -> None:
    rows = {**sample_rows(), "bids": []}
    rows["findings"][0]["sql"] = "select nonsense from nowhere"
    assert "Table with name nowhere does not exist" in Page(render(make_bundle(tmp_path / "s", rows))).text


def test_the_same_tables_give_the_same_bytes(page: Page, tmp_path: Path) -> None:
    rows = {table: content[::-1] for table, content in sample_rows().items()}
    assert page.html == render(make_bundle(tmp_path / "again", rows))


def test_a_large_hostile_study_stays_small(tmp_path: Path) -> None:
    rows = sample_rows()
    for number in range(400):
        rows["syncs"].append(
            {**rows["syncs"][0], "sync": f"x{number}", "sender": f"organisation {number}", "request": f"rx{number}"}
        )
        rows["requests"].append(
            {**rows["requests"][0], "request": f"rx{number}", "url": "https://x.example/?" + "y" * 20_000}
        )
        rows["hosts"].append(
            {"host": f"h{number}.example", "organisation": f"o{number} " + "z" * 250, "purpose": "content"}
        )
        rows["contacts"].append({**rows["contacts"][0], "host": f"h{number}.example", "profile": "p" * 3000})
        rows["gaps"].append({"stage": "crawl", "reason": f"r{number}", "subject": "s" * 5000, "detail": "d" * 5000})
    written = write_report(make_bundle(tmp_path / "s", rows))
    assert written.stat().st_size < 3_000_000
    assert "more organisations are not shown here" in written.read_text("utf-8")
    assert "This report is full" in written.read_text("utf-8")


def test_write_report_leaves_whole_files_only(bundle: Bundle, page: Page) -> None:
    path = write_report(bundle)
    assert path == bundle.directory / "findings" / "report.html"
    assert path.read_text("utf-8") == page.html
    assert sorted(p.name for p in path.parent.iterdir()) == ["findings.json", "report.html"]
    assert json.loads((path.parent / "findings.json").read_text("utf-8")) == findings_json(bundle)


def test_findings_as_json(bundle: Bundle) -> None:
    found = findings_json(bundle)
    json.dumps(found, allow_nan=False)
    assert found["simulated"] is True
    assert found["world"] == {"name": "tiny", "seed": 20231024}
    assert [f["finding"] for f in found["findings"]] == ["received", "sharing", "bids", "unseen", "next"]
    assert found["findings"][1]["rows"] == [
        {"sender": "OpenX", "profiles": 9},
        {"sender": "Oxbow Ads", "profiles": 9},
        {"sender": "Tallow", "profiles": 9},
    ]
    assert [test["ci_high"] for test in found["tests"]] == [None, None, "inf"]
    assert {"stage": "capture", "reason": "no_name", "gaps": 5}.items() <= found["gaps"][0].items()


def test_pairs_beyond_the_table_are_listed(tmp_path: Path) -> None:
    sync = sample_rows()["syncs"][0]
    rows = [{**sync, "sync": f"x{i}", "receiver": f"receiver {i:03}"} for i in range(150)]
    page = Page(render(make_bundle(tmp_path / "s", {**sample_rows(), "syncs": rows, "bids": []})))
    assert "The 50 pairs that the table leaves out" in page.text
    assert all(f"receiver {i:03}" in page.text for i in range(150))
    assert sum(a.get("class", "").startswith("node ") for tag, a in page.elements if tag == "g") <= 40


def test_the_skills_behind_an_organisation_are_named(page: Page) -> None:
    assert "because of Style Podcast" in page.text
    assert "because of My Lookbook" in page.text


def test_steps_are_drawn_from_the_findings(bundle: Bundle, page: Page) -> None:
    text = page.text[page.text.index("If you own a speaker") :]
    assert "chtbl.com\n" in text
    assert "cdn.runwaydaily.example\n" not in text
    assert "on which legal ground: OpenX, Oxbow Ads, Tallow." in text
    assert "With 3 against 6 profiles the smallest p possible is 0.012" in text
    assert hashlib.sha256((bundle.directory / "study.yaml").read_bytes()).hexdigest() in text
    assert "world tiny, seed 20231024" in text
    assert "This study is simulated: check your own capture" in text


def test_the_means_of_capture_are_those_that_the_interactions_name(tmp_path: Path) -> None:
    create(tmp_path / "study", "title: x\n", {})
    means = ["namespaces", "userspace: no right to make <b>", "namespaces", None]
    with Bundle.open(tmp_path / "study", write=True) as bundle:
        with bundle.step("given", "test") as step:
            step.write("interactions", [{"interaction": str(n), "captured_by": m} for n, m in enumerate(means)])
        told = _captured_by(bundle)
    assert told.startswith("dumpcap at a router in network namespaces")
    assert told.endswith("and a userspace router, which passes TLS on without opening it (no right to make <b>)")
