"""The browser's side of the score: hops, cookies and bids, each held against what the servers did."""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import urlsplit

import pyarrow as pa

from earwitness.lab.score_tally import Key, Tally, rows_of, tally_occurrences, tally_set

PLATFORM_SESSION_COOKIES = frozenset({("amazon.com", "session-id"), ("amazon.com", "at-main")})
"""Domain and name of the cookies whose values a study replaces by tokens: they cannot be compared, by design."""

_CPM_TOLERANCE = 0.5e-6
"""Half of the last decimal that counts in a price. The adapters pass on what they are sent (openx, pubmatic,
appnexus, rubicon) or divide it by 100 (ix is paid in cents) in double precision; nothing else is rounded."""

_NOT_OF_PAGES = frozenset({"sign_in", "token", "device", "stream", "voice", "favicon"})
"""The kinds of `truth_requests` that no page sets off."""

_ESCAPE = re.compile(r"%[0-9a-fA-F]{2}")
_DEFAULT_PORT = re.compile(r"^(https://[^/?#]*?):443(?=[/?#]|$)|^(http://[^/?#]*?):80(?=[/?#]|$)")


class Visits:
    """The completed visits of a study, and which of them a moment belongs to.

    A visit is complete when its window is known and the browser did not crash in it. One profile makes one visit at a
    time. What happened outside every window (sign-in, attempts that were repeated) belongs to none.
    """

    def __init__(self, visits: pa.Table) -> None:
        """Take the `visits` of a bundle."""
        self.profile_of: dict[str, str] = {}
        windows: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for visit, profile, started, ended, status in rows_of(
            visits, "visit", "profile", "started_at", "ended_at", "status"
        ):
            if started is not None and ended is not None and status != "crashed":
                self.profile_of[visit] = profile
                windows[profile].append((started, ended, visit))
        self._windows = {profile: sorted(found) for profile, found in windows.items()}

    def at(self, profile: str, moment: int) -> str | None:
        """The visit that `profile` was making at `moment` (UTC microseconds, window ends included)."""
        windows = self._windows.get(profile, [])
        index = bisect.bisect_right(windows, moment, key=lambda window: window[0]) - 1
        return windows[index][2] if index >= 0 and moment <= windows[index][1] else None


def normal_url(url: str) -> str:
    """`url` with percent-escapes in capitals and without the scheme's default port; nothing else is changed."""
    url = _ESCAPE.sub(lambda escape: escape.group().upper(), url)
    return _DEFAULT_PORT.sub(lambda origin: origin.group(1) or origin.group(2), url)


def is_favicon(url: str) -> bool:
    """Whether the browser's own interface asks for `url`, which no page does and no recorder of pages sees."""
    return "/favicon.ico" in url and urlsplit(url).path == "/favicon.ico"


def hops(requests: pa.Table, truth_requests: pa.Table, visits: Visits) -> Tally:
    """Every hop by (profile, visit, method, URL, n-th occurrence).

    CORS preflights are hops with method OPTIONS. A speaker's requests are no hops of a page. Favicons are left out on
    both sides: the browser's interface asks for them, not the page. Addresses that never reach a network (`data:`,
    `blob:`) are no hops. Status and cookies are not part of the key: a request that got no answer is a hop on both
    sides. Where the same was asked again and then answered, a reset does not count: browsers repeat by themselves what
    breaks on a connection that was in use, and show one request.
    """
    measured = (
        (visits.profile_of[visit], visit, method, normal_url(url))
        for visit, method, url in rows_of(requests, "visit", "method", "url")
        if visit in visits.profile_of and url.startswith(("http://", "https://"))
        if not is_favicon(url)
    )
    columns = ("profile", "at", "method", "url", "status", "kind")
    made = [
        ((profile, visit, method, normal_url(url)), status)
        for profile, at, method, url, status, kind in rows_of(truth_requests, *columns)
        if kind not in _NOT_OF_PAGES and not is_favicon(url)
        if (visit := visits.at(profile, at)) is not None
    ]
    answered = {key for key, status in made if status is not None}
    truth = (key for key, status in made if status is not None or key not in answered)
    return tally_occurrences(("profile", "visit", "method", "url"), truth, measured)


def cookies(measured_cookies: pa.Table, truth_requests: pa.Table, visits: Visits) -> Tally:
    """Cookies set by HTTP answers in visits, by (profile, host, name, value); repetitions count once.

    The host is the cookie's domain without a leading dot. The platform's session cookies are left out: their values
    are tokens by design.
    """
    measured = {
        key
        for profile, visit, via, host, name, value in rows_of(
            measured_cookies, "profile", "visit", "via", "host", "name", "value"
        )
        if via == "http" and visit in visits.profile_of
        if not _is_session(key := (profile, _domain(host), name, value))
    }
    truth = {
        key
        for profile, at, host, kind, lines in rows_of(truth_requests, "profile", "at", "host", "kind", "set_cookie")
        if kind not in _NOT_OF_PAGES and visits.at(profile, at) is not None
        for line in lines or ()
        if not _is_session(key := (profile, *set_cookie(line, host)))
    }
    return tally_set(("profile", "host", "name", "value"), truth, measured)


def set_cookie(line: str, host: str) -> tuple[str, str, str]:
    """(domain, name, value) of one Set-Cookie line that `host` sent."""
    pair, *attributes = line.split(";")
    name, _, value = pair.partition("=")
    for attribute in attributes:
        label, _, content = attribute.partition("=")
        if label.strip().lower() == "domain" and content.strip(" ."):
            host = content
    return _domain(host), name.strip(), value.strip()


def cookie_pairs(header: str | None) -> Iterator[tuple[str, str]]:
    """(name, value) of each cookie in a Cookie header."""
    for pair in (header or "").split(";"):
        name, equals, value = pair.partition("=")
        if equals:
            yield name.strip(), value.strip()


def bids(measured_bids: pa.Table, truth_bids: pa.Table, visits: Visits) -> Tally:
    """Bids by (profile, visit, slot, bidder) and status; a bid's price must be equal too.

    "Equal" is within half a millionth of a dollar: the adapters keep double precision, so only the way through JSON
    can change a price. Several answers to one key (auctions repeated in one visit) are paired in order of price.
    """
    columns = ("profile", "visit", "slot", "bidder", "status", "cpm_usd")
    claimed: dict[Key, list[float]] = defaultdict(list)
    for visit, slot, bidder, status, cpm in rows_of(measured_bids, "visit", "slot", "bidder", "status", "cpm_usd"):
        if visit in visits.profile_of:
            claimed[visits.profile_of[visit], visit, slot, bidder, status].append(_price(status, cpm))
    true: dict[Key, list[float]] = defaultdict(list)
    for profile, at, slot, bidder, status, cpm in rows_of(
        truth_bids, "profile", "at", "slot", "bidder", "status", "cpm_usd"
    ):
        if (visit := visits.at(profile, at)) is not None:
            true[profile, visit, slot, bidder, status].append(_price(status, cpm))
    result = Tally(columns)
    for key in true.keys() | claimed.keys():
        found, missed, false = _pair_prices(true[key], claimed[key])
        result.found += found
        result.missed += [(*key, price if key[-1] == "bid" else None) for price in missed]
        result.false += [(*key, price if key[-1] == "bid" else None) for price in false]
    return result


def creatives(measured_creatives: pa.Table, truth_creatives: pa.Table, visits: Visits) -> Tally:
    """Ads that were served in visits, by (profile, visit, slot, landing address): which ad was seen, and where."""
    measured = (
        (visits.profile_of[visit], visit, slot, normal_url(landing or ""))
        for visit, slot, landing in rows_of(measured_creatives, "visit", "slot", "landing_url")
        if visit in visits.profile_of
    )
    truth = (
        (profile, visit, slot, normal_url(landing))
        for profile, at, slot, landing in rows_of(truth_creatives, "profile", "at", "slot", "landing_url")
        if (visit := visits.at(profile, at)) is not None
    )
    return tally_occurrences(("profile", "visit", "slot", "landing_url"), truth, measured)


def _price(status: str, cpm: float | None) -> float:
    """The price of a bid; other answers have none, whatever stands there."""
    return cpm if status == "bid" and cpm is not None else 0.0


def _pair_prices(true: list[float], claimed: list[float]) -> tuple[int, list[float], list[float]]:
    """How many prices agree one to one, the true ones left over and the claimed ones left over."""
    found, missed, false = 0, sorted(true), sorted(claimed)
    left_true: list[float] = []
    left_claimed: list[float] = []
    while missed and false:
        if abs(missed[-1] - false[-1]) <= _CPM_TOLERANCE:
            found += 1
            missed.pop()
            false.pop()
        elif missed[-1] > false[-1]:
            left_true.append(missed.pop())
        else:
            left_claimed.append(false.pop())
    return found, left_true + missed, left_claimed + false


def _domain(host: str | None) -> str:
    return (host or "").strip().lower().lstrip(".")


def _is_session(key: Key) -> bool:
    _, domain, name, _ = key
    return (domain, name) in PLATFORM_SESSION_COOKIES
