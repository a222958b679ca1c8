"""What a pass is asked to do, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from earwitness.crawl.hops import Hop
from earwitness.model.errors import EarwitnessError

Row = dict[str, object]


@dataclass(frozen=True)
class VisitPlan:
    """One page to visit. `position` is its order within the pass, from 1."""

    visit: str
    site: str
    url: str
    phase: str
    iteration: int
    position: int


@dataclass(frozen=True)
class SignIn:
    """Where and as whom to sign in. Neither account nor password is ever recorded."""

    url: str
    account: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class PassResult:
    """What one pass recorded.

    `rows` maps `visits`, `requests`, `cookies`, `bids` and `creatives` to rows keyed by the columns of the data
    dictionary, without `evidence`; a `locator` "line N" counts the lines of the events file from 1, and `screenshot`
    is a file's name. `gaps` are rows of that table. `browser` is name and version.
    """

    rows: Mapping[str, Sequence[Row]]
    gaps: Sequence[Row]
    browser: str


class CrawlInterrupted(EarwitnessError):
    """The browser ended in the middle of a pass; `rows` and `gaps` hold what had been recorded by then."""

    exit_code = 1

    def __init__(self, pass_id: str, reason: str, result: PassResult) -> None:
        self.rows, self.gaps = result.rows, result.gaps
        super().__init__(f"pass {pass_id}: {reason}; run it again from its snapshot")


@dataclass
class Visit:
    """A visit under way. `hops` is filled when it has ended; `line` is where its record begins."""

    plan: VisitPlan
    started_at: datetime
    line: int
    hops: list[Hop] = field(default_factory=list)
    ended_at: datetime | None = None
