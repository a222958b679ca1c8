"""The five sentences say what the tables say, and no more."""

import math

import pytest

from earwitness.stats import CPM_RATIO, SCORE_RANK_BISERIAL
from earwitness.store import Bundle, create
from earwitness.study import StudyFile
from earwitness.study.findings import findings

from .test_config import a_study


@pytest.fixture
def say(tmp_path):
    """Sentences of a study with these rows, by name."""

    def sentences(**tables):
        create(tmp_path / "study", "title: x\n", {})
        with Bundle.open(tmp_path / "study", write=True) as bundle:
            with bundle.step("given", "test") as step:
                for table, rows in tables.items():
                    step.write(table, rows)
            rows = {f["finding"]: f for f in findings(bundle, StudyFile.model_validate(a_study()))}
            for finding in rows.values():
                bundle.sql(finding["sql"])
            return rows

    return sentences


def contact(profile, host, party):
    return {"profile": profile, "host": host, "party": party, "bytes_up": 10}


def host(name, organisation, purpose="content"):
    return {"host": name, "organisation": organisation, "purpose": purpose}


def sync(identifier, sender, receiver, owner):
    return {"identifier": identifier, "sender": sender, "receiver": receiver, "owner": owner}


def test_who_received(say):
    hosts = [host("v.test", "Voice Co"), host("t.test", "Trackers", "advertising_tracking"), host("c.test", "Content")]
    told = say(
        hosts=hosts,
        contacts=[
            *(contact(p, "v.test", "platform") for p in ("p01", "p02", "p03")),
            contact("p01", "t.test", "third"),
            contact("p02", "c.test", "vendor"),
        ],
    )["received"]["claim"]
    assert told == (
        "All 3 speakers sent data to Voice Co. 2 of 3 speakers sent data to 2 other organisations, 1 of them in"
        " advertising or tracking: Trackers, Content."
    )


def test_who_shares(say):
    told = say(
        visits=[{"visit": "v", "status": "done"}],
        syncs=[
            sync("i1", "Ads", "Voice Co", "Ads"),
            sync("i1", "Ads", "Further", "Ads"),
            sync("i1", "Further", "Furthest", "Ads"),
            sync("i2", "Courier", "Voice Co", "Somebody"),  # passes on another's: no partner
        ],
    )["sharing"]["claim"]
    assert told == (
        "1 organisation passed its identifier for a person to Voice Co: Ads."
        " From them identifiers went on to 2 further organisations: Further, Furthest."
    )


def a_test(p, registered=True):
    return {
        "hypothesis": "h",
        "persona": "pets",
        "control": "control",
        "unit": "profile",
        "estimand": SCORE_RANK_BISERIAL,
        "p": p,
        "p_adjusted": p if registered else None,
        "p_attainable": 1 / 84,
        "units_treated": 3,
        "units_control": 6,
        "registered": registered,
    }


def a_ratio(effect, low, high):
    return {
        "hypothesis": "h",
        "unit": "profile",
        "estimand": CPM_RATIO,
        "effect": effect,
        "ci_low": low,
        "ci_high": high,
    }


@pytest.mark.parametrize(
    ("tests", "claim"),
    [
        (
            [a_test(1 / 84), a_ratio(3.14, 1.5, math.inf)],
            "Bids rose for “pets” over “control”: afterwards they were 3.1 times as high where both got bids"
            " (95 % interval 1.5 to no limit).",
        ),
        (
            [a_test(0.4), a_ratio(3.14, 1.5, 9.0)],
            "No rise of bids was shown for “pets” over “control”; more than 9.0 times as high is excluded (95 %).",
        ),
        (
            [a_test(0.4), a_ratio(3.14, 0, math.inf)],
            "No rise of bids was shown for “pets” over “control”, and no size of it can be excluded.",
        ),
        ([a_test(1 / 84, registered=False)], "Bids for “pets” over “control” were explored only."),
        ([], "Bids could not be compared."),
    ],
)
def test_did_bids_change(say, tests, claim):
    told = say(tests=tests)["bids"]
    assert told["claim"] == claim
    if tests and not tests[0]["registered"]:
        assert "exploratory" in told["confidence"]
        assert told["gaps"]


def test_what_was_not_seen(say):
    told = say(
        visits=[{"visit": "a", "status": "done"}, {"visit": "b", "status": "crashed"}],
        gaps=[
            {"stage": "crawl", "subject": "x", "reason": "interrupted", "detail": "d"},
            {"stage": "crawl", "subject": "y", "reason": "odd_reason", "detail": "d"},
        ],
    )["unseen"]
    assert told["claim"] == (
        "1 of 2 page visits gave all they had. Not seen, and written down: attempts that ended early and were repeated"
        " (1 ×); odd reason (1 ×). What companies exchange between their own servers cannot be seen from outside."
    )


def test_an_empty_study_says_so(say):
    told = say()
    assert list(told) == ["received", "sharing", "bids", "unseen", "next"]
    assert "nothing can be said" in told["received"]["claim"]
    assert "not measured" in told["sharing"]["claim"]


def test_the_placebo_stands_beside_and_is_no_finding(tmp_path):
    study = a_study()
    study["personas"].append({"name": "sham", "role": "placebo", "profiles": 3, "skills": []})
    create(tmp_path / "study", "title: x\n", {})
    with Bundle.open(tmp_path / "study", write=True) as bundle:
        with bundle.step("given", "test") as step:
            step.write("tests", [a_test(1 / 84), {**a_test(0.5), "hypothesis": "s", "persona": "sham"}])
        told = {f["finding"]: f for f in findings(bundle, StudyFile.model_validate(study))}["bids"]
    assert told["claim"] == "Bids rose for “pets” over “control”."
    assert told["confidence"].endswith("; the placebo's p is .500")
