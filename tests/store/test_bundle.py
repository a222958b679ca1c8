"""The bundle: nothing half-done is visible, nothing captured is lost, nothing changes unnoticed."""

import signal
import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest

from earwitness.model.errors import BadInput, BadStudy, EarwitnessError, StudyLocked, TamperedEvidence
from earwitness.model.tables import TABLES
from earwitness.store import Bundle, PlannedStep, create


@pytest.fixture
def directory(tmp_path):
    create(tmp_path / "study", "title: a study\nseed: 1\n", {"lists/owners.json": "{}"})
    return tmp_path / "study"


def collect(bundle, name, text=b"bytes", rows=1):
    with bundle.step(name, "crawl") as step:
        path = step.partial("events.jsonl")
        path.write_bytes(text)
        sha = step.seal(path, "browser_events")
        step.write("visits", [{"visit": f"{name}/{i}", "profile": "p01", "evidence": sha} for i in range(rows)])
    return sha


def test_a_committed_step_can_be_read_back_down_to_its_bytes(directory):
    with Bundle.open(directory, write=True) as bundle:
        sha = collect(bundle, "before/p01/1", b"what was seen", rows=2)
    with Bundle.open(directory) as bundle:
        rows = bundle.sql("select visit, step, attempt, evidence from visits order by visit").to_pylist()
        assert [r["visit"] for r in rows] == ["before/p01/1/0", "before/p01/1/1"]
        assert {(r["step"], r["attempt"], r["evidence"]) for r in rows} == {("before/p01/1", 1, sha)}
        assert bundle.evidence_path(sha).read_bytes() == b"what was seen"
        assert bundle.verify() == []
        assert bundle.ledger.done() == {"before/p01/1"}


def test_every_table_of_the_dictionary_can_be_asked_before_anything_is_collected(directory):
    with Bundle.open(directory) as bundle:
        for name, table in TABLES.items():
            assert bundle.sql(f"select * from {name}").column_names == table.schema.names
            assert bundle.table(name).schema == table.schema


def test_a_running_step_is_invisible_and_a_failed_one_leaves_evidence_and_a_gap(directory):
    with Bundle.open(directory, write=True) as bundle:
        with pytest.raises(RuntimeError), bundle.step("after/p01/1", "crawl") as step:
            path = step.partial("events.jsonl")
            path.write_bytes(b"half")
            step.write("visits", [{"visit": "v"}])
            step.gap("v", "timeout", "the page never ended")
            assert bundle.sql("select * from visits").num_rows == 0
            raise RuntimeError("the browser is gone")
        assert bundle.sql("select * from visits").num_rows == 0
        gaps = bundle.sql("select reason, attempt, detail from gaps order by reason").to_pylist()
        assert [(g["reason"], g["attempt"]) for g in gaps] == [("failed", 1), ("timeout", 1)]
        assert "the browser is gone" in gaps[0]["detail"]
        (kept,) = bundle.ledger.evidence()
        assert bundle.evidence_path(kept.sha256).read_bytes() == b"half"
        collect(bundle, "after/p01/1")
        assert bundle.sql("select attempt from visits")["attempt"].to_pylist() == [2]


def test_kill_9_loses_neither_committed_rows_nor_what_was_captured(directory):
    code = f"""
        import os, signal
        from earwitness.store import Bundle
        bundle = Bundle.open({str(directory)!r}, write=True)
        with bundle.step("one", "crawl") as step:
            p = step.partial("a"); p.write_bytes(b"first"); step.seal(p, "browser_events")
            step.write("visits", [{{"visit": "v1"}}])
        with bundle.step("two", "crawl") as step:
            p = step.partial("sealed"); p.write_bytes(b"sealed before the crash"); step.seal(p, "browser_events")
            step.partial("growing").write_bytes(b"still growing")
            step.write("visits", [{{"visit": "v2"}}])
            os.kill(os.getpid(), signal.SIGKILL)
    """
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert died.returncode == -signal.SIGKILL
    with Bundle.open(directory, write=True) as bundle:
        assert bundle.sql("select visit from visits")["visit"].to_pylist() == ["v1"]
        assert bundle.ledger.done() == {"one"}
        kept = {bundle.evidence_path(a.sha256).read_bytes() for a in bundle.ledger.evidence()}
        assert kept == {b"first", b"sealed before the crash", b"still growing"}
        gaps = bundle.sql("select subject, reason, attempt from gaps").to_pylist()
        assert gaps == [{"subject": "two", "reason": "interrupted", "attempt": 1}]
        assert bundle.verify() == []


def test_analysis_steps_replace_their_shards_with_the_same_bytes(directory):
    def analyse(bundle):
        with bundle.step("analyse/hosts", "parties", replace=True) as step:
            step.write("hosts", [{"host": "a.test", "site": "a.test"}])

    def shards(bundle):
        return {s.path: (directory / s.path).read_bytes() for s in bundle.ledger.shards("hosts")}

    with Bundle.open(directory, write=True) as bundle:
        analyse(bundle)
        first = shards(bundle)
        with pytest.raises(RuntimeError), bundle.step("analyse/hosts", "parties", replace=True):
            raise RuntimeError
        assert shards(bundle) == first
        analyse(bundle)
        assert shards(bundle) == first
        assert len(list((directory / "tables/hosts").iterdir())) == 1


def test_compacting_keeps_every_row_and_drops_the_small_shards(directory):
    names = [f"before/p{number:02d}/1" for number in range(20)]
    with Bundle.open(directory, write=True) as bundle:
        bundle.plan(PlannedStep(name, "crawl", place) for place, name in enumerate(names))
        for name in names:
            collect(bundle, name, name.encode())
        before = bundle.table("visits")
        bundle.compact(["visits", "bids"])
        assert bundle.table("visits").equals(before)
        assert len(list((directory / "tables/visits").iterdir())) == 1
        assert bundle.verify() == []


def test_compacting_leaves_analysis_replaceable(directory):
    names = [f"before/p{number:02d}/1" for number in range(20)]

    def analyse(bundle):
        with bundle.step("analyse/flows", "capture", replace=True) as step:
            step.gap("capture", "no_name", "one flow")

    with Bundle.open(directory, write=True) as bundle:
        bundle.plan(PlannedStep(name, "crawl", place) for place, name in enumerate(names))
        analyse(bundle)
        for name in names:
            with bundle.step(name, "crawl") as step:
                step.gap(name, "timeout", "too slow")
        bundle.compact(["gaps"])
        analyse(bundle)
        assert sorted(bundle.table("gaps")["reason"].to_pylist()) == ["no_name"] + ["timeout"] * 20


def test_what_a_crash_left_half_written_is_swept(directory):
    with Bundle.open(directory, write=True) as bundle:
        collect(bundle, "one")
    (directory / "tables/visits/.two-1-99.tmp").write_bytes(b"half")
    (directory / "tables/visits/two-1-0123456789ab.parquet").write_bytes(b"never listed")
    with Bundle.open(directory, write=True) as bundle:
        assert len(list((directory / "tables/visits").iterdir())) == 1
        assert bundle.table("visits").num_rows == 1


def test_verify_names_what_was_changed(directory):
    with Bundle.open(directory, write=True) as bundle:
        bundle.freeze([("rise", {"persona": "pets"})])
        sha = collect(bundle, "one", b"true bytes")
        (shard,) = bundle.ledger.shards("visits")
        evidence = bundle.evidence_path(sha)
        evidence.chmod(0o600)
        evidence.write_bytes(b"other bytes")
        (evidence.parent / ("0" * 64)).write_bytes(b"planted")
        (directory / shard.path).unlink()
        with pytest.raises(TamperedEvidence, match="visits"):
            bundle.sql("select 1")
        (directory / "study.yaml").write_text("title: another question\n")
        problems = "\n".join(bundle.verify())
        assert f"evidence {sha}: changed" in problems
        assert f"evidence {'0' * 64}: not listed" in problems
        assert f"{shard.path}: missing" in problems
        assert "study.yaml: changed" in problems
        with pytest.raises(TamperedEvidence):
            bundle.freeze([])


def test_hypotheses_cannot_be_added_or_changed_once_frozen(directory):
    with Bundle.open(directory, write=True) as bundle:
        bundle.freeze([("rise", {"persona": "pets"})])
        bundle.freeze([("rise", {"persona": "cars"}), ("later", {})])
        assert [(name, body) for name, body, _ in bundle.ledger.hypotheses()] == [("rise", {"persona": "pets"})]


def test_one_writer_at_a_time(directory):
    with Bundle.open(directory, write=True), pytest.raises(StudyLocked):
        Bundle.open(directory, write=True)
    Bundle.open(directory, write=True).close()


def test_sensitive_evidence_and_the_key_are_for_the_owner_only(directory):
    with Bundle.open(directory, write=True) as bundle:
        with bundle.step("talk", "speakers") as step:
            path = step.partial("capture.pcap")
            path.write_bytes(b"packets")
            sha = step.seal(path, "capture", sensitive=True)
        assert bundle.evidence_path(sha).stat().st_mode & 0o777 == 0o400
        assert len(bundle.secret_key) == 32
        assert bundle.secret_key == bundle.secret_key
        assert (directory / "secret.key").stat().st_mode & 0o777 == 0o600


def test_a_profile_snapshot_changes_only_with_its_step(directory):
    def seal(bundle, name, text, fail=False):
        with bundle.step(name, "crawl") as step:
            path = step.partial("profile.tar.zst")
            path.write_bytes(text)
            step.seal_profile("p01", path)
            if fail:
                raise RuntimeError

    with Bundle.open(directory, write=True) as bundle:
        assert bundle.snapshot("p01") is None
        seal(bundle, "before/p01/1", b"first")
        with pytest.raises(RuntimeError):
            seal(bundle, "after/p01/1", b"broken", fail=True)
        assert bundle.snapshot("p01").read_bytes() == b"first"
        seal(bundle, "after/p01/1", b"second")
        assert bundle.snapshot("p01").read_bytes() == b"second"
        assert len(list((directory / "profiles/p01").iterdir())) == 1
        bundle.snapshot("p01").write_bytes(b"tampered")
        with pytest.raises(TamperedEvidence):
            bundle.snapshot("p01")


def test_wrong_questions_get_one_line(directory):
    with Bundle.open(directory) as bundle:
        for query in ("select nothing from visits", "selec", "select * from read_parquet('nowhere')"):
            with pytest.raises(BadInput) as caught:
                bundle.sql(query)
            assert "\n" not in str(caught.value)
        with pytest.raises(BadInput):
            bundle.evidence_path("../../etc/passwd")
        with pytest.raises(BadInput):
            bundle.table("nope")
    with pytest.raises(BadStudy):
        Bundle.open(directory / "nothing")
    with pytest.raises(EarwitnessError):
        create(directory, "title: again\n", {})


def test_a_row_with_an_unknown_column_is_refused(directory):
    with Bundle.open(directory, write=True) as bundle, pytest.raises(KeyError), bundle.step("x", "crawl") as step:
        step.write("visits", [{"vist": "typo"}])


def test_arrow_tables_are_taken_as_they_are(directory):
    table = TABLES["hosts"].arrow([{"host": "a.test"}])
    with Bundle.open(directory, write=True) as bundle:
        with bundle.step("analyse/hosts", "parties", replace=True) as step:
            step.write("hosts", table)
        assert isinstance(bundle.table("hosts"), pa.Table)
        assert bundle.table("hosts")["step"].to_pylist() == ["analyse/hosts"]


def test_the_plan_is_written_once_and_kept_in_order(directory):
    with Bundle.open(directory, write=True) as bundle:
        bundle.plan([PlannedStep("b", "crawl", 1, "p01", "before", 1), PlannedStep("a", "study", 0)])
        bundle.plan([PlannedStep("b", "crawl", 9)])
        assert [(s.step, s.position) for s in bundle.ledger.plan()] == [("a", 0), ("b", 1)]
