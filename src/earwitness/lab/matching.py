"""User matching: the pages, scripts and pixels by which parties hand identifiers to each other.

What each endpoint does is read from the world: it keeps its owner's cookie, writes down each identifier that arrives
(`truth_syncs`), and makes the browser send on what its sends say. It knows an identifier only from the request
itself: a cookie, a query, a path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from urllib.parse import parse_qs, quote, unquote, urlencode

from aiohttp import web

from earwitness.lab.browsing import Answer, Hit, page, pixel, redirect, script, set_third_party_cookie
from earwitness.lab.consent import US_PRIVACY
from earwitness.lab.draws import digest, identifier
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.truth import Truth, now_us
from earwitness.lab.world import Cookie, Endpoint, Send, World


@dataclass(frozen=True)
class Baggage:
    """What travels along without identifying anybody: the consent string and the time of the first visit."""

    consent: str | None = None
    first_visit: str | None = None


class Matching:
    """All matching endpoints of a world."""

    def __init__(self, world: World, truth: Truth, state: PlatformState) -> None:
        self._world, self._truth, self._state = world, truth, state
        self._incoming = {
            name: [send for send in world.sends.values() if send.target == name] for name in world.endpoints
        }
        self._outgoing = {
            name: [send for send in world.sends.values() if send.source == name] for name in world.endpoints
        }

    def answer(self, hit: Hit) -> Answer | None:
        """The answer to a request for one of the endpoints; None where it is for none of them."""
        endpoint = self._endpoint(hit)
        if endpoint is None:
            return None
        owner = self._world.organisations[endpoint.organisation]
        cookie = owner.cookie
        own = hit.cookies.get(cookie.name) if cookie else None
        mint = cookie is not None and own is None and endpoint.mints
        if cookie is not None and mint:
            own = self._minted(cookie, owner.key, hit)
        known = self._received(endpoint, hit)
        for organisation, value in known.items():
            if endpoint.organisation == self._world.platform.organisation and own:
                self._state.match(organisation, value, own)
        if own:
            known[owner.key] = own
        response = self._respond(endpoint, hit, known)
        if cookie is not None and mint and own:
            set_third_party_cookie(response, cookie.name, own, cookie.domain)
        for what, name in owner.beside.items():
            if endpoint.mints and name not in hit.cookies:
                value = self._world.constant if what == "constant" else str(now_us() // 1000)
                set_third_party_cookie(response, name, value, owner.domains[0])
        return Answer(endpoint.answer, response)

    def page_tags(self, hit: Hit, baggage: Baggage) -> list[str]:
        """The addresses of the scripts that every publisher's page includes."""
        return [self.address(send, {}, baggage, hit) for send in self._world.sends.values() if send.source == "page"]

    def address(self, send: Send, known: Mapping[str, str], baggage: Baggage, hit: Hit) -> str:
        """The full address that a send makes the browser fetch."""
        target = self._world.endpoints[send.target]
        path, query = target.path, {}
        if send.carried_as == "path":
            path += (
                "".join(f"/{quote(known[organisation], safe='')}" for organisation in send.carries)
                + f"/{send.tail}.gif"
            )
        elif send.carried_as == "url":
            assert send.inner is not None
            query[send.parameters["url"]] = self.address(self._world.sends[send.inner], known, baggage, hit)
        else:
            query |= {send.parameters[organisation]: known[organisation] for organisation in send.carries}
        query |= self._extras(send, baggage, hit)
        return f"https://{target.host}{path}" + (f"?{urlencode(query)}" if query else "")

    def _endpoint(self, hit: Hit) -> Endpoint | None:
        for name, endpoint in self._world.endpoints.items():
            if endpoint.host == hit.host:
                in_path = any(send.carried_as == "path" for send in self._incoming[name])
                if hit.path == endpoint.path or (in_path and hit.path.startswith(endpoint.path + "/")):
                    return endpoint
        return None

    def _minted(self, cookie: Cookie, organisation: str, hit: Hit) -> str:
        return identifier(self._world.seed, cookie.shape, "cookie", organisation, hit.profile)

    # -- arriving

    def _received(self, endpoint: Endpoint, hit: Hit) -> dict[str, str]:
        """The identifiers that this request carries, by whose they are; each one is written to the truth."""
        found: dict[str, str] = {}
        for send in self._incoming[endpoint.name]:
            for organisation in send.carries:
                value = self._carried(send, organisation, endpoint, hit)
                if value:
                    found[organisation] = value
                    self._truth.write(
                        "truth_syncs",
                        profile=hit.profile,
                        sender_host=self._world.endpoints[send.source].host,
                        receiver_host=endpoint.host,
                        identifier=value,
                        channel="path" if send.carried_as == "path" else "query",
                        encoding="plain" if value in hit.url else "url",
                    )
        return found

    def _carried(self, send: Send, organisation: str, endpoint: Endpoint, hit: Hit) -> str | None:
        if send.carried_as == "path":
            segments = hit.path.removeprefix(endpoint.path + "/").split("/")
            inside = len(segments) == len(send.carries) + 1
            return unquote(segments[send.carries.index(organisation)]) if inside else None
        if send.carried_as == "url":
            assert send.inner is not None
            inner = hit.query.get(send.parameters["url"], "").partition("?")[2]
            return parse_qs(inner).get(self._world.sends[send.inner].parameters[organisation], [None])[0]
        return hit.query.get(send.parameters[organisation])

    # -- going on

    def _respond(self, endpoint: Endpoint, hit: Hit, known: dict[str, str]) -> web.Response:
        baggage = self._baggage(endpoint, hit)
        sends = [
            send
            for send in self._outgoing[endpoint.name]
            if endpoint.answer == "script" or known.keys() >= {*send.carries}
        ]
        if endpoint.answer == "script":
            return script("".join(self._statement(send, baggage, hit) for send in sends))
        if endpoint.answer == "frame":
            tags = "".join(_TAGS[send.means].format(escape(self.address(send, known, baggage, hit))) for send in sends)
            return page(f"<!doctype html><title></title><body>{tags}</body>")
        for send in sends:
            return redirect(self._given_address(send, endpoint, hit) or self.address(send, known, baggage, hit))
        return pixel()

    def _given_address(self, send: Send, endpoint: Endpoint, hit: Hit) -> str | None:
        """The full address that the request itself asks to be sent on to, if it is the one that `send` leads to."""
        target = self._world.endpoints[send.target]
        for incoming in self._incoming[endpoint.name]:
            if incoming.inner == send.name:
                given = hit.query.get(incoming.parameters["url"], "")
                return given if given.startswith(f"https://{target.host}{target.path}?") else None
        return None

    def _baggage(self, endpoint: Endpoint, hit: Hit) -> Baggage:
        stamps = (
            hit.query.get(send.parameters["first_visit"])
            for send in self._incoming[endpoint.name]
            if "first_visit" in send.extras
        )
        return Baggage(hit.query.get("gdpr_consent"), next((stamp for stamp in stamps if stamp), None))

    def _extras(self, send: Send, baggage: Baggage, hit: Hit) -> dict[str, str]:
        extras: dict[str, str] = {}
        for what in send.extras:
            if what == "consent":
                if baggage.consent:
                    extras |= {"gdpr": "1", "gdpr_consent": baggage.consent}
                extras["us_privacy"] = US_PRIVACY
            elif what == "cache_buster":
                extras[send.parameters[what]] = self._cache_buster(send, hit)
            elif what == "time":
                extras[send.parameters[what]] = str(now_us() // 1000)
            elif what == "constant":
                extras[send.parameters[what]] = self._world.constant
            elif baggage.first_visit:
                extras[send.parameters[what]] = baggage.first_visit
        return extras

    def _cache_buster(self, send: Send, hit: Hit) -> str:
        when, site = self._state.when(hit.profile), hit.browsing.site
        nth = hit.browsing.count("buster", send.name)
        raw = digest(self._world.seed, "buster", hit.profile, when.phase, when.iteration, site, send.name, nth)
        return str(int.from_bytes(raw[:7], "big"))

    def _statement(self, send: Send, baggage: Baggage, hit: Hit) -> str:
        """The JavaScript that performs a send. Identifiers are read from the frame's own cookies, in the browser."""
        blanks = {organisation: f"\x00{organisation}\x00" for organisation in send.carries}
        address = json.dumps(self.address(send, blanks, baggage, hit)).replace("<", "\\u003c")
        for organisation in send.carries:
            cookie = self._world.organisations[organisation].cookie
            assert cookie is not None
            found = f"document.cookie.match({_cookie_pattern(cookie.name)})"
            address = address.replace(
                quote(f"\x00{organisation}\x00"), f'"+encodeURIComponent(({found}||["",""])[1])+"'
            )
        return _STATEMENTS[send.means].replace("ADDRESS", address)


def _cookie_pattern(name: str) -> str:
    """A JavaScript regular expression whose first group is the value of the cookie `name`."""
    return f"/(?:^|; ){re.escape(name)}=([^;]*)/"


_TAGS = {
    "image": '<img src="{}" width="1" height="1" alt="">',
    "script": '<script src="{}"></script>',
    "frame": '<iframe src="{}" width="1" height="1"></iframe>',
}
_STATEMENTS = {
    "image": "new Image().src=ADDRESS;",
    "frame": (
        "(function(){var f=document.createElement('iframe');f.width=f.height=1;f.style.border=0;f.src=ADDRESS;"
        "document.body.appendChild(f)})();"
    ),
    "script": ("(function(){var s=document.createElement('script');s.src=ADDRESS;document.body.appendChild(s)})();"),
}
