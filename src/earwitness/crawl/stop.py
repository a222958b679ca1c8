"""When a visit has seen what there is to see: a rule on evidence, not on time.

The page has loaded, every auction that began has ended, the user syncs that Prebid.js fires after an auction (its
`syncDelay`, three seconds unless the page sets it) have fired, and the network has been quiet for half a second.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec

from earwitness.crawl.cdp import CommandFailed
from earwitness.crawl.recorder import Recorder
from earwitness.crawl.tab import Tab

QUIET_S = 0.5
QUIET_AFTER_LEAVING_S = 0.25
_POLL_S = 0.1
# How long a page that has Prebid.js may stay quiet before its first auction.
_FIRST_AUCTION_S = 2.0

# Times are milliseconds of the page's own clock. `delay` is null where the page fires no syncs by itself.
_STATE = """
[...new Set([...(window._pbjsGlobals || []), 'pbjs'])].filter(n => window[n]).map(n => {
  const p = window[n], events = typeof p.getEvents === 'function' ? p.getEvents() : [];
  const times = type => events.filter(e => e.eventType === type).map(e => e.elapsedTime);
  const sync = (typeof p.getConfig === 'function' && p.getConfig('userSync')) || {};
  const ends = times('auctionEnd');
  return {
    begun: times('auctionInit').length, ended: ends.length, bids: times('bidResponse').length,
    since: ends.length ? performance.now() - Math.max(...ends) : 0,
    delay: sync.syncEnabled === false || sync.enableOverride ? null : +(sync.syncDelay ?? 3000),
  };
})
"""


class _Prebid(msgspec.Struct):
    begun: int
    ended: int
    bids: int
    since: float
    delay: float | None


@dataclass
class Evidence:
    """What the rule has seen so far.

    `waiting_for` says what is missing while it is not `complete`; `cut_short` says what ended the visit instead of the
    rule.
    """

    waiting_for: str = "the document"
    prebid: bool = False
    auctions: int = 0
    bids: int = 0
    complete: bool = False
    cut_short: str = ""

    @property
    def reason(self) -> str:
        """Why the visit ended, for the table."""
        if self.cut_short:
            return self.cut_short
        if not self.complete:
            return f"cap reached, waiting for {self.waiting_for}"
        if self.auctions:
            return f"loaded, auctions ended ({self.auctions}), user syncs fired, network quiet"
        if self.prebid:
            return "loaded, no auction began, network quiet"
        return "loaded, network quiet"


async def watch(tab: Tab, recorder: Recorder, evidence: Evidence) -> None:
    """Wait until all is seen; `evidence` is kept up to date, so that it is right whenever this is cancelled."""
    clock = asyncio.get_running_loop().time
    evidence.waiting_for = "the load event"
    await tab.loaded()
    loaded_at = clock()
    while True:
        states = await _states(tab)
        evidence.prebid = bool(states)
        evidence.auctions = sum(s.ended for s in states)
        evidence.bids = sum(s.bids for s in states)
        if any(s.ended < s.begun for s in states):
            evidence.waiting_for = "the end of an auction"
            await asyncio.sleep(_POLL_S)
        elif states and not evidence.auctions and clock() < loaded_at + _FIRST_AUCTION_S:
            evidence.waiting_for = "the first auction"
            await asyncio.sleep(_POLL_S)
        else:
            due = clock() + max((_until_syncs(s) for s in states), default=0.0)
            evidence.waiting_for = "user syncs"
            await asyncio.sleep(due - clock())
            evidence.waiting_for = "a quiet network"
            await recorder.quiet(QUIET_S, since=due)
            if await _unchanged(tab, states):
                evidence.complete = True
                return


async def _unchanged(tab: Tab, before: list[_Prebid]) -> bool:
    """Whether no auction has begun or ended meanwhile."""
    after = await _states(tab)
    return [(s.begun, s.ended) for s in after] == [(s.begun, s.ended) for s in before]


async def _states(tab: Tab) -> list[_Prebid]:
    try:
        return await tab.evaluate(list[_Prebid], _STATE)
    except (CommandFailed, msgspec.ValidationError):
        return []  # the page has something of that name that is not Prebid.js


def _until_syncs(state: _Prebid) -> float:
    """Seconds until the syncs of the latest auction are due; negative when they were."""
    if not state.ended or state.delay is None:
        return 0.0
    return (state.delay - state.since) / 1000
