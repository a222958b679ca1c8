"""Putting hops together, as transcripts: what the browser says, in which order, and what must come out."""

from __future__ import annotations

import msgspec

from earwitness.crawl import hops, network_events
from earwitness.crawl.hops import Hop, Hops

URL = "https://a.example/x"


class Transcript:
    """Feeds events by the names that the protocol gives them."""

    def __init__(self) -> None:
        self.hops = Hops()
        self.line = 0

    def sends(self, request: str, url: str = URL, **more: object) -> None:
        self.line += 1
        event = {
            "requestId": request,
            "request": {"url": url, "method": "GET"},
            "wallTime": 1700000000.25 + self.line,
            "initiator": {"type": "parser", "url": "https://page.example/"},
            "documentURL": "https://page.example/",
            "type": "Image",
            **more,
        }
        self.hops.sending(_as(network_events.Sending, event), "session", self.line)

    def sent(self, request: str, **headers: str) -> None:
        self.hops.sent(_as(network_events.SentExtra, {"requestId": request, "headers": headers}))

    def answered(self, request: str, status: int, **headers: str) -> None:
        self.line += 1
        event = {"requestId": request, "statusCode": status, "headers": headers}
        self.hops.answered(_as(network_events.AnswerExtra, event), self.line)

    def received(self, request: str, status: int, extra: bool = True, **how: object) -> None:
        response = {"status": status, "headers": {}, **how}
        event = {"requestId": request, "response": response, "hasExtraInfo": extra}
        self.hops.received(_as(network_events.Received, event))

    def ended(self, request: str, error: str = "") -> None:
        self.hops.ended(network_events.Ended(request, error))

    def take(self) -> list[Hop]:
        return self.hops.take("p1", "v1")[0]


def _as(kind, event):
    return msgspec.json.decode(msgspec.json.encode(event), type=kind)


def redirect(status: int = 302, extra: bool = True, **how: object) -> dict[str, object]:
    return {
        "redirectResponse": {"status": status, "headers": {}, **how},
        "redirectHasExtraInfo": extra,
    }


def test_extra_info_belongs_to_hops_in_order_whenever_it_comes():
    t = Transcript()
    t.sent("1", Cookie="a=1", Host="a.example")
    t.sends("1")
    t.sends("1", "https://b.example/y", **redirect())
    t.answered("1", 302, **{"Set-Cookie": "a=2\nb=3", "Location": "https://b.example/y"})
    t.received("1", 200)
    t.sent("1", cookie="c=1", Host="b.example")
    t.answered("1", 200, **{"set-cookie": "c=2"})
    first, second = t.take()
    assert (first.number, first.status, first.location) == (0, 302, "https://b.example/y")
    assert (first.cookies_sent, first.cookies_set) == ("a=1", ["a=2", "b=3"])
    assert (second.number, second.status, second.cookies_sent) == (1, 200, "c=1")
    assert second.cookies_set == ["c=2"]
    assert second.redirected_from == first.request != ""


def test_a_cached_redirect_takes_no_extra_info():
    t = Transcript()
    t.sends("1")
    t.sends("1", "https://a.example/y", **redirect(301, extra=False, fromDiskCache=True))
    t.received("1", 200)
    t.sent("1", Cookie="n=1", Host="a.example")
    t.answered("1", 200)
    cached, asked = t.take()
    assert cached.request == ""
    assert (asked.request != "", asked.cookies_sent, asked.number) == (True, "n=1", 1)
    assert asked.redirected_from == ""


def test_the_memory_cache_repeats_an_old_promise():
    t = Transcript()
    t.sends("1")
    t.hops.served_from_cache(network_events.Ended("1"))
    t.received("1", 200, extra=True)
    assert [hop.request for hop in t.take()] == [""]


def test_no_server_saw_what_a_worker_or_a_cache_answered():
    for how in ("fromDiskCache", "fromServiceWorker", "fromPrefetchCache"):
        t = Transcript()
        t.sends("1")
        t.received("1", 200, extra=False, **{how: True})
        assert [hop.request for hop in t.take()] == [""], how


def test_an_upgrade_to_https_is_the_browsers_own():
    t = Transcript()
    upgrade = {"Location": "https://a.example/", "Non-Authoritative-Reason": "HttpsUpgrades"}
    t.sends("1", "http://a.example/")
    t.sends("1", "https://a.example/", **redirect(307, extra=False, headers=upgrade))
    t.received("1", 200)
    t.sent("1", Host="a.example")
    first, second = t.take()
    assert (first.request, second.request != "") == ("", True)


def test_a_service_workers_script_comes_without_extra_info():
    t = Transcript()
    t.sends("1")
    t.received("1", 200, extra=False)
    (hop,) = t.take()
    assert (hop.request != "", hop.cookies_sent, hop.status) == (True, None, 200)


def test_failed_before_and_after_it_was_sent():
    t = Transcript()
    t.sends("1")
    t.ended("1", "net::ERR_NAME_NOT_RESOLVED")
    t.sends("2")
    t.sent("2", Host="a.example")
    t.ended("2", "net::ERR_CONNECTION_RESET")
    unsent, unanswered = t.take()
    assert (unsent.request, unsent.error) == ("", "net::ERR_NAME_NOT_RESOLVED")
    assert (unanswered.request != "", unanswered.status) == (True, None)


def test_extra_info_of_another_host_is_not_taken():
    t = Transcript()
    t.sends("1")
    t.sends("1", "https://b.example/y", **redirect())
    t.received("1", 200)
    t.sent("1", Cookie="b=1", Host="b.example")
    first, second = t.take()
    assert (first.cookies_sent, second.cookies_sent) == (None, "b=1")


def test_the_icon_is_left_out_and_other_addresses_are_no_hops():
    t = Transcript()
    t.sends("1", "https://a.example/favicon.ico", type="Other", initiator={"type": "other"})
    t.sent("1", Host="a.example")
    t.sends("2", "data:image/gif;base64,R0lG")
    t.sends("3", "blob:https://a.example/1")
    assert [(h.url, h.request) for h in t.take()] == [("https://a.example/favicon.ico", "")]


def test_headers_without_a_request_are_given_back():
    t = Transcript()
    t.sent("9", Host="late.example")
    _, orphans = t.hops.take("p1", "v1")
    assert [o.headers for o in orphans] == [{"Host": "late.example"}]


def test_a_preflight_is_asked_for_by_whoever_asked_for_the_request():
    t = Transcript()
    t.sends("p", type="Other", initiator={"type": "preflight", "url": URL, "requestId": "1"}, documentURL=URL)
    t.sent("p", Host="a.example")
    t.sends("1", initiator={"type": "script", "stack": {"callFrames": [{"url": "https://page.example/s.js"}]}})
    t.sent("1", Host="a.example")
    preflight, request = t.take()
    assert preflight.kind == "preflight"
    assert preflight.initiator == request.initiator == "https://page.example/s.js"
    assert preflight.frame_url == "https://page.example/"


def test_row_ids_depend_on_structure_not_on_time():
    def run(shift: float) -> list[str]:
        t = Transcript()
        t.line = 100
        for n in ("1", "2"):
            t.sends(n, wallTime=1.0 + shift)
            t.sent(n)
        return [hop.request for hop in t.take()]

    assert run(0) == run(1000)
    assert len(set(run(0))) == 2


def test_what_is_open_is_known():
    t = Transcript()
    t.sends("1")
    t.sends("2", frameId="F")
    t.sends("3")
    assert set(t.hops.open) == {"1", "2", "3"}
    t.ended("1")
    t.hops.frame_removed("F")
    assert set(t.hops.open) == {"3"}
    t.hops.session_ended("session")
    assert not t.hops.open


def test_bodies_are_unpacked_and_cut():
    import gzip

    assert hops.body_text(gzip.compress(b"plain")) == "plain"
    assert hops.body_text(b"\x1f\x8bnot gzip").endswith("not gzip")
    assert len(hops.body_text(gzip.compress(bytes(10**7)))) == hops.BODY_BYTES
    assert len(hops.body_text(b"x" * 10**6)) == hops.BODY_BYTES
