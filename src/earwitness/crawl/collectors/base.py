"""The four hooks of a collector, and what all collectors of a pass share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from earwitness.crawl.cdp import Session
from earwitness.crawl.events import EventLog
from earwitness.crawl.recorder import Recorder
from earwitness.crawl.secrets import Secrets
from earwitness.crawl.tab import Tab
from earwitness.crawl.targets import Targets
from earwitness.crawl.visit import Row, Visit


@dataclass
class Record:
    """One pass's record: whom it is about, and where to write. `pictures` is a directory; null: none are kept."""

    profile: str
    targets: Targets
    recorder: Recorder
    log: EventLog
    secrets: Secrets
    pictures: Path | None = None
    gaps: list[Row] = field(default_factory=list)

    def gap(self, subject: str, reason: str, detail: str) -> None:
        """Write down something that was not seen."""
        self.gaps.append(
            {
                "stage": "crawl",
                "subject": subject,
                "reason": reason,
                "detail": detail,
                "at": datetime.now(UTC),
            }
        )


class Collector:
    """A kind of evidence. Every hook may be left as it is."""

    def __init__(self, record: Record) -> None:
        self.record = record

    def attach(self, session: Session) -> None:
        """A new page, frame or worker, not running yet: post the commands that switch events on."""

    async def visit_started(self, visit: Visit) -> None:
        """A visit begins; the tab is still empty."""

    async def page_quiet(self, visit: Visit, tab: Tab) -> None:
        """The page has done what it had to do, and is still there. Not called when it crashed."""

    def rows(self, visit: Visit) -> Mapping[str, list[Row]]:
        """The rows of an ended visit, by table. Called once for each visit, also when it was cut short."""
        return {}
