"""A running lab, as whoever started it sees it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from earwitness.lab import prebid, truth
from earwitness.lab.world_file import load_world
from earwitness.model.errors import EarwitnessError
from earwitness.model.network import Enrolled, Internet

WORLD = "world.json"
LOG = "lab.log"
START_S = 60.0
STOP_S = 10.0


class LabFailed(EarwitnessError):
    """The lab's process did not start, or it has ended."""

    exit_code = 1


class Lab:
    """The simulated internet while it runs. Use as a context manager; leaving it seals the truth."""

    def __init__(self, process: subprocess.Popen[bytes], truth_dir: Path, internet: Internet) -> None:
        self._process, self._truth_dir = process, truth_dir
        self._lock = threading.Lock()
        self._closed = False
        self.internet = internet

    def announce(self, profile: str, phase: str, iteration: int) -> None:
        """Tell the lab where in the plan what `profile` does next belongs.

        Raises:
            LabFailed: no such profile is enrolled, or the lab has ended.
        """
        order = {"do": "announce", "profile": profile, "phase": phase, "iteration": iteration}
        with self._lock:
            if self._closed:
                raise LabFailed("the lab is closed; start it again")
            answer = _ask(self._process, order, self._truth_dir, STOP_S)
        if "error" in answer:
            raise LabFailed(f"the lab refuses: {answer['error']}")

    def close(self) -> None:
        """Stop the servers and seal the truth; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            _stop(self._process)
        truth.seal(self._truth_dir)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


def start(world: str, seed: int, truth_dir: Path, enrolled: Sequence[Enrolled]) -> Lab:
    """Run world `world` under `seed` in a child process, with an own address for each enrolled profile.

    The child ends when this process does, however that ends. A truth directory belongs to one world and seed and may
    serve several sessions one after the other: what the platform learnt in earlier ones it still knows.

    Raises:
        BadStudy: there is no such world.
        MissingTool: Prebid.js is not installed.
        LabFailed: the truth directory belongs to another world or seed, or the servers do not start.
    """
    found = load_world(world, seed)
    package = prebid.find_prebid()
    _claim(truth_dir, world, seed)
    gateways = _gateways([one.profile for one in enrolled])
    config = {
        "world": world,
        "seed": seed,
        "truth_dir": str(truth_dir.resolve()),
        "enrolled": [dataclasses.asdict(one) for one in enrolled],
        "gateways": gateways,
        "prebid": str(package),
    }
    with (truth_dir / LOG).open("ab") as log:
        # A session of its own: an interrupt at the terminal is for the parent, which then closes the lab.
        process = subprocess.Popen(
            [sys.executable, "-m", "earwitness.lab.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            # The lab shares few cores with browsers: its small matrices are no work for many threads.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        )
    try:
        ports = _ask(process, config, truth_dir, START_S)
    except BaseException:
        _stop(process)
        raise
    internet = Internet(
        ca_file=truth_dir.resolve() / "ca.pem",
        ca_spki=ports["ca_spki"],
        hosts=found.addresses,
        gateways=gateways,
        https_port=ports["https_port"],
        http_port=ports["http_port"],
        h2_port=ports["h2_port"],
        h2_hosts=frozenset({found.platform.voice_service}),
    )
    return Lab(process, truth_dir, internet)


def _claim(truth_dir: Path, world: str, seed: int) -> None:
    """Make `truth_dir` this world's, if it is no other's."""
    truth_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    mark = truth_dir / WORLD
    mine = {"world": world, "seed": seed}
    if not mark.exists():
        mark.write_text(json.dumps(mine) + "\n")
    if (theirs := json.loads(mark.read_text())) != mine:
        raise LabFailed(
            f"{truth_dir} holds the truth of world {theirs['world']}, seed {theirs['seed']}, not of {world}, "
            f"seed {seed}; choose another directory"
        )


def _gateways(profiles: Sequence[str]) -> dict[str, str]:
    """A loopback address for each profile, in a block that no other lab is likely to use."""
    block = (127 << 24) | ((1 + secrets.randbelow(2**14 - 1)) << 10)
    numbers = range(block + 1, block + 1 + len(profiles))
    return {
        profile: ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))
        for profile, number in zip(profiles, numbers, strict=True)
    }


def _ask(process: subprocess.Popen[bytes], order: dict[str, Any], truth_dir: Path, patience_s: float) -> dict[str, Any]:
    """Send one line and read the line that answers it."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    except OSError:
        raise _failed(truth_dir) from None
    answer = b""
    until = time.monotonic() + patience_s
    while not answer.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise LabFailed(f"the lab has not answered for {patience_s:.0f} s; see {truth_dir / LOG}")
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            raise _failed(truth_dir)
        answer += part
    found: dict[str, Any] = json.loads(answer)
    return found


def _failed(truth_dir: Path) -> LabFailed:
    log = truth_dir / LOG
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    last = f": {lines[-1]}" if lines else ""
    return LabFailed(f"the lab is not running{last}; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to stop, wait for it, and end it if it will not."""
    assert process.stdin is not None
    assert process.stdout is not None
    # A process that has already ended cannot be written to, and need not be.
    with contextlib.suppress(OSError):
        process.stdin.write(b'{"do": "stop"}\n')
        process.stdin.flush()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    with contextlib.suppress(OSError):
        process.stdin.close()
