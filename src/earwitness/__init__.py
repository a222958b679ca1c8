"""Earwitness audits smart-speaker ecosystems.

    import earwitness as ew

    ew.open("DIR").sql("select bidder, median(cpm_usd) from bids group by bidder")
    ew.open("DIR").table("bids")          # an Arrow table

Start with `earwitness demo`, or `earwitness inspect FILE` for a capture that you have.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from earwitness.store import Bundle

__version__ = "0.1.0"
__all__ = ["__version__", "open"]


def open(directory: str | Path) -> Bundle:  # noqa: A001 - the public name, as in `earwitness.open`
    """Open a study for reading; raises `BadStudy` where there is none."""
    from earwitness.store import Bundle

    return Bundle.open(directory)
