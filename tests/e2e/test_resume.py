"""`kill -9` at random moments, then `run --resume`: nothing is lost or doubled, and the gaps say what happened."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import earwitness, query

pytestmark = pytest.mark.e2e
_EDGES = "select distinct sender, receiver from syncs order by 1, 2"
_CELLS = "select profile, phase, iteration, site, status from visits order by all"


def test_kill_9_three_times_then_resume(audit, tmp_path):
    study = tmp_path / "study"
    assert earwitness("init", study, "--world", "tiny", "--seed", audit.seed).returncode == 0
    chance = random.Random(os.getpid())
    evidence = set()
    for attempt in range(3):
        command = [sys.executable, "-m", "earwitness.cli", "run", str(study), *(["--resume"] if attempt else [])]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        delay = chance.uniform(6, 22)
        time.sleep(delay)
        assert process.poll() is None, f"ended before it could be killed after {delay:.1f} s"
        process.send_signal(signal.SIGKILL)
        process.wait()
        evidence |= stored(study)
        left = wait_until_gone(str(study))
        assert left == [], f"killed after {delay:.1f} s, still there: {left}"
    resumed = earwitness("run", study, "--resume")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert evidence <= stored(study)
    assert query(study, _CELLS) == query(audit.directory, _CELLS)
    assert query(study, _EDGES) == query(audit.directory, _EDGES)
    interrupted = query(study, "select subject, attempt from gaps where reason = 'interrupted'")
    assert interrupted
    assert earwitness("verify", study).returncode == 0
    assert not [p for p in Path("/tmp").glob("earwitness-*") if not p.name.startswith("earwitness-pytest")]


def stored(study):
    """Hashes of everything that stands in the evidence."""
    return {p.name for p in (study / "evidence").glob("[0-9a-f][0-9a-f]/*")}


def wait_until_gone(word):
    """Processes that still name the study, after at most ten seconds."""
    for _ in range(50):
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if word in line and int(entry.parent.name) != os.getpid():
                found.append(line[:120])
        if not found:
            return []
        time.sleep(0.2)
    return found
