"""Runs the kernels uncompiled, where every index is checked, over damaged input in arrays that end where it ends.

Started by a test with NUMBA_DISABLE_JIT=1; an access beyond a record or a block raises IndexError.
"""

import os
import random
import sys
import warnings

import numpy as np

from earwitness.capture import kernel, records
from tests.capture import packets as p
from tests.capture.captures import Interface, pcap, pcapng, timed
from tests.capture.corpus import damaged

LINKS = [(1, p.ethernet), (113, p.sll), (276, p.sll2), (101, bytes), (0, p.null), (229, bytes), (5, bytes)]


class Kernel:
    """The arrays that the kernel works on."""

    def __init__(self, flows: int) -> None:
        self.flows = np.empty((flows, kernel.FLOW_COLUMNS), np.int64)
        self.slots = np.full(1 << (2 * flows).bit_length(), -1, np.int32)
        self.fragments = np.zeros((kernel.FRAGMENT_ROWS, kernel.FRAGMENT_COLUMNS), np.int64)
        self.excerpts = np.empty((1, kernel.EXCERPT_COLUMNS), np.int64)
        self.assigned = np.empty(1, np.int32)
        self.counts = np.zeros(kernel.COUNT_COLUMNS, np.int64)

    def dissect(self, frame: bytes, link: int, wire: int) -> None:
        record = np.array([[0, len(frame), wire, 1, link]], np.int64)
        found = kernel.dissect(
            np.frombuffer(frame, np.uint8), record, 1, self.flows, self.slots, 1, self.fragments, self.excerpts,
            self.assigned, self.counts,
        )  # fmt: skip
        if found:
            start, length = (int(self.excerpts[0, column]) for column in (kernel.X_START, kernel.X_LENGTH))
            assert 0 <= start <= start + length <= len(frame)


def main(seed: int, rounds: int) -> None:
    assert os.environ["NUMBA_DISABLE_JIT"] == "1"
    warnings.simplefilter("ignore", RuntimeWarning)  # the hash overflows on purpose
    rng = random.Random(seed)
    state = Kernel(rounds)
    corpus = p.one_of_each()
    for _ in range(rounds):
        link, wrap = rng.choice(LINKS)
        frame = damaged(rng, wrap(rng.choice(corpus)))
        state.dissect(frame, link, rng.choice([len(frame), len(frame) + 100, 0]))
    out = np.empty((64, records.RECORD_COLUMNS), np.int64)
    clock = np.zeros(records.CLOCK_COLUMNS, np.int64)
    interfaces = np.zeros((1, records.INTERFACE_COLUMNS), np.int64)
    frames = timed(map(p.ethernet, corpus[:6]), snap=60)
    for kind in ("enhanced", "obsolete", "simple"):
        for _ in range(rounds // 30):
            block = np.frombuffer(damaged(rng, pcapng(frames, kind=kind, interfaces=[Interface()])[48:]), np.uint8)
            mode, factor = rng.choice(
                [(records.DIVIDE, 1), (records.MULTIPLY, 1000), (records.SHIFT, rng.randrange(64))]
            )
            interfaces[0] = (1, rng.choice([0, 50]), mode, factor, rng.choice([0, -(10**18)]))
            _, count, _ = records.frame_pcapng(block, 0, len(block), False, interfaces, 1, out, clock)
            check(out[:count], len(block))
            classic = np.frombuffer(damaged(rng, pcap(frames)[24:]), np.uint8)
            _, count, _ = records.frame_pcap(classic, 0, len(classic), False, True, 1, out)
            check(out[:count], len(classic))
    print("packets", int(state.counts[kernel.PACKETS]), "flows", int(state.counts[kernel.FLOWS]))


def check(found: np.ndarray, end: int) -> None:
    for start, captured, _, at, _ in found.tolist():
        assert 0 <= start <= start + captured <= end
        assert 0 <= at <= records.MAX_TIME


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
