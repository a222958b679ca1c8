"""Every hop that a server saw."""

from __future__ import annotations

from collections.abc import Mapping

from earwitness.crawl.cdp import Session
from earwitness.crawl.collectors.base import Collector
from earwitness.crawl.hops import BODY_BYTES, Hop
from earwitness.crawl.visit import Row, Visit


class RequestsCollector(Collector):
    """Fills `requests`.

    Left out: what came from a cache or from a service worker (no server saw it), addresses that are none of HTTP, and
    the page's icon, which the browser's interface asks for.
    """

    def attach(self, session: Session) -> None:
        """Switch network events on."""
        session.post("Network.enable", {"maxPostDataSize": BODY_BYTES})
        session.post("Page.enable")

    def rows(self, visit: Visit) -> Mapping[str, list[Row]]:
        """One row for each hop; a gap for each that failed before it was sent."""
        for hop in visit.hops:
            if not hop.request and hop.error and hop.error != "net::ERR_ABORTED":
                self.record.gap(visit.plan.visit, "not_sent", f"{hop.error}: {hop.url}")
        self._unseen_scripts(visit)
        return {"requests": [_row(visit, hop) for hop in visit.hops if hop.request]}

    def _unseen_scripts(self, visit: Visit) -> None:
        """A service worker's script is checked for updates behind the protocol's back."""
        workers = self.record.targets.service_workers
        for url in sorted(workers):
            asked = [hop for hop in visit.hops if hop.url == url and hop.request]
            if not asked:
                detail = f"its update check, if there was one, is not shown: {url}"
                self.record.gap(visit.plan.visit, "service_worker_unseen", detail)
            elif all(hop.sent is None for hop in asked):
                detail = f"the cookies of the request for its script are not shown: {url}"
                self.record.gap(visit.plan.visit, "service_worker_unseen", detail)
        workers.clear()


def _row(visit: Visit, hop: Hop) -> Row:
    return {
        "request": hop.request,
        "visit": visit.plan.visit,
        "hop": hop.number,
        "at": hop.at,
        "method": hop.method,
        "url": hop.url,
        "host": hop.host,
        "type": hop.kind,
        "frame_url": hop.frame_url,
        "initiator": hop.initiator,
        "redirected_from": hop.redirected_from or None,
        "status": hop.status,
        "location": hop.location,
        "cookies_sent": hop.cookies_sent,
        "cookies_set": hop.cookies_set,
        "body": hop.body,
        "seen_by": "cdp",
        "referer": hop.referer,
        "locator": f"line {hop.line}",
    }
