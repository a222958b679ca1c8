"""The whole audit: real packets, TLS, Chromium, Prebid.js and speech, held against the lab's sealed truth."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import earwitness, query

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]


def test_five_sentences_and_a_report(audit):
    assert [f["finding"] for f in audit.answer["findings"]] == ["received", "sharing", "bids", "unseen", "next"]
    assert all(f["claim"].endswith(".") and f["confidence"] for f in audit.answer["findings"])
    assert audit.answer["failed"] == []
    report = Path(audit.answer["report"]).read_text("utf-8")
    assert "simulated" in report
    assert "Content-Security-Policy" in report
    for finding in audit.answer["findings"][:1]:
        assert finding["claim"].split("(")[0][:30] in report


def test_the_truth_is_met(audit):
    scored = earwitness("score", audit.directory, "--json")
    assert scored.returncode == 0, scored.stderr
    questions = json.loads(scored.stdout)["questions"]
    bars = {"speaker_hosts": (1, 1), "hops": (0.99, 0.99), "bids": (0.99, 0.99), "syncs_org": (0.95, 0.9)}
    for name, (precision, recall) in bars.items():
        got = questions[name]
        assert got["tp"] > 0, name
        assert got["precision"] >= precision, (name, got)
        assert got["recall"] >= recall, (name, got)


def test_nothing_secret_is_in_tables_events_or_report(audit):
    from earwitness.store import Bundle
    from earwitness.study import enrolled, load_study, make_assignments

    with Bundle.open(audit.directory) as bundle:
        accounts = enrolled(make_assignments(load_study(audit.directory)), bundle.secret_key)
        secrets = [s.encode() for a in accounts for s in (a.password, a.refresh_token)]
        listed = [a for a in bundle.ledger.evidence() if not a.sensitive]
        files = [bundle.evidence_path(a.sha256) for a in listed]
        files += list((audit.directory / "findings").iterdir())
        texts = [p.read_bytes() for p in files]
        rows = b"".join(repr(bundle.table(t).to_pylist()).encode() for t in ("requests", "cookies", "gaps", "visits"))
        for secret in secrets:
            assert all(secret not in text for text in [*texts, rows])
        sensitive = [bundle.evidence_path(a.sha256) for a in bundle.ledger.evidence() if a.sensitive]
        assert sensitive
        assert all(stat.S_IMODE(p.stat().st_mode) == 0o400 for p in sensitive)
        assert all(stat.S_IMODE(p.stat().st_mode) == 0o600 for p in (audit.directory / "profiles").rglob("*.zst"))


def test_every_row_that_was_read_from_evidence_points_into_it(audit):
    for table in ("requests", "cookies", "bids", "visits", "flows", "interactions", "streams", "syncs"):
        rows = query(audit.directory, f"select count(*) as n, count(evidence) as proven from {table}")
        assert rows[0]["n"] == rows[0]["proven"] > 0, table
    located = query(audit.directory, "select evidence, locator, url from requests where locator is not null limit 20")
    assert len(located) == 20
    for row in located:
        path = audit.directory / "evidence" / row["evidence"][:2] / row["evidence"]
        line = path.read_text("utf-8").splitlines()[int(row["locator"].removeprefix("line ")) - 1]
        assert isinstance(json.loads(line), dict)


def test_the_study_is_unchanged_and_verify_says_so(audit):
    verified = earwitness("verify", audit.directory, "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["problems"] == []


def test_analysis_is_blind(audit, tmp_path):
    """Without the lab, the world and the truth, the analysis gives byte-identical tables."""
    study = tmp_path / "elsewhere" / "study"
    shutil.copytree(audit.directory, study)
    code = tmp_path / "code" / "src"
    shutil.copytree(
        ROOT / "src" / "earwitness", code / "earwitness", ignore=shutil.ignore_patterns("lab", "__pycache__")
    )
    (tmp_path / "code" / "node_modules").symlink_to(ROOT / "node_modules")
    environment = {**os.environ, "PYTHONPATH": str(code)}

    def python(*arguments):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    found = python(
        "-c", "import earwitness, importlib.util as u; print(earwitness.__file__, u.find_spec('earwitness.lab'))"
    )
    assert found.stdout.split() == [str(code / "earwitness" / "__init__.py"), "None"]
    before = hashes(study / "tables")
    analysed = list((study / "tables").glob("*/analyse_*"))
    for shard in analysed:
        os.utime(shard, (0, 0))  # whatever is younger afterwards was written by this analysis
    redone = python("-m", "earwitness.cli", "analyse", study)
    assert redone.returncode == 0, redone.stderr
    assert hashes(study / "tables") == before
    assert analysed
    assert all(shard.stat().st_mtime > 0 for shard in analysed)
    assert {p.split("/")[0] for p in before} >= {
        "flows",
        "hosts",
        "contacts",
        "identifiers",
        "syncs",
        "tests",
        "findings",
    }


def hashes(directory):
    return {
        str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(directory.rglob("*.parquet"))
    }
