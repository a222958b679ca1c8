"""How far the tool can be trusted: whole audits of a world on fresh seeds, scored against the lab's sealed truth.

    python bench/score.py [RUNS]

Seeds are SHA-256(commit ‖ i), so nobody chooses them; every run is printed, also the bad ones.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

QUESTIONS = (
    *("speaker_hosts", "hops", "cookies", "bids", "creatives", "identifiers"),
    *("syncs_org", "syncs_host", "partners", "downstream"),
)


def seeds(runs: int) -> list[int]:
    """The seeds of this commit."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    return [int(hashlib.sha256(f"{commit}{i}".encode()).hexdigest()[:8], 16) for i in range(1, runs + 1)]


def audit(seed: int, folder: Path) -> tuple[float, dict]:
    """One audit: seconds from start to report, and its score."""
    command = [sys.executable, "-m", "earwitness.cli"]
    study = folder / f"study-{seed}"
    started = time.monotonic()
    subprocess.run([*command, "demo", "--out", study, "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - started
    scored = subprocess.run([*command, "score", study, "--json"], capture_output=True, text=True, check=True)
    return seconds, json.loads(scored.stdout)["questions"]


def main() -> None:
    """Print precision/recall (right, false, missed) per question and seed."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    with tempfile.TemporaryDirectory(prefix="earwitness-score-") as folder:
        for seed in seeds(runs):
            seconds, questions = audit(seed, Path(folder))
            print(f"seed {seed}: {seconds:.0f} s")
            for name in QUESTIONS:
                q = questions.get(name)
                if q:
                    shares = "/".join("–" if q[k] is None else f"{q[k]:.3f}" for k in ("precision", "recall"))
                    print(f"  {name:<14} {shares}  ({q['tp']} right, {q['fp']} false, {q['fn']} missed)")


if __name__ == "__main__":
    main()
