"""Correction for asking more than one question."""

from __future__ import annotations

from collections.abc import Sequence


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted over their family by Holm's step-down procedure, in the order given.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for step, i in enumerate(order):
        highest = max(highest, min(1.0, (len(ps) - step) * ps[i]))
        adjusted[i] = highest
    return adjusted
