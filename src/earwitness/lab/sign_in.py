"""The platform's sign-in: a form, session cookies, and a detour over the ad host that ties browser to account."""

from __future__ import annotations

import secrets
from html import escape
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from earwitness.lab.browsing import YEAR_S, Answer, Hit, page, redirect, set_third_party_cookie
from earwitness.lab.draws import identifier
from earwitness.lab.platform_state import PlatformState
from earwitness.lab.world import World

SESSION_COOKIES = ("session-id", "at-main")
DETOUR = "/x/sso"
TOKEN = "t"  # noqa: S105 (the name of a parameter)


class SignIn:
    """The three addresses of signing in."""

    def __init__(self, world: World, state: PlatformState) -> None:
        self._world, self._state = world, state
        form, home = urlsplit(world.platform.sign_in), urlsplit(world.platform.home)
        self._form, self._home = (form.hostname, form.path), (home.hostname, home.path)
        self._pending: dict[str, str] = {}

    def answer(self, hit: Hit) -> Answer | None:
        """The answer to a request that belongs to signing in; None where it does not."""
        where = (hit.host, hit.path)
        if where == self._form:
            return Answer("sign_in", self._check(hit) if hit.method == "POST" else _form_page(""))
        if where == (self._world.platform.ad_host, DETOUR):
            return Answer("sign_in", self._tie(hit))
        if where == self._home:
            return Answer("sign_in", self._welcome(hit))
        return None

    def _check(self, hit: Hit) -> web.Response:
        given = parse_qs(hit.body.decode("utf-8", "replace"))
        email, password = given.get("email", [""])[0], given.get("password", [""])[0]
        account = self._state.account_with_password(email, password)
        if account is None:
            response = _form_page("Your password is incorrect.")
            response.set_status(401)
            return response
        token = secrets.token_urlsafe(24)
        self._pending[token] = account
        response = redirect(f"https://{self._world.platform.ad_host}{DETOUR}?{TOKEN}={token}", status=303)
        for cookie, lifetime in (("session-id", ""), ("at-main", f"; Max-Age={YEAR_S}")):
            value = self._state.session_cookie(cookie, account)
            line = f"{cookie}={value}; Domain=.amazon.com; Path=/{lifetime}; Secure; HttpOnly; SameSite=Lax"
            response.headers.add("Set-Cookie", line)
        return response

    def _tie(self, hit: Hit) -> web.Response:
        """Learn whose browser this is; the token of the form works once."""
        account = self._pending.pop(hit.query.get(TOKEN, ""), None)
        if account is None:
            return web.Response(status=400, text="This link has been used.")
        organisation = self._world.organisations[self._world.platform.organisation]
        cookie = organisation.cookie
        assert cookie is not None
        ad_id = hit.cookies.get(cookie.name)
        response = redirect(self._world.platform.home)
        if ad_id is None:
            ad_id = identifier(self._world.seed, cookie.shape, "cookie", organisation.key, hit.profile)
            set_third_party_cookie(response, cookie.name, ad_id, cookie.domain)
        self._state.bind(ad_id, account)
        return response

    def _welcome(self, hit: Hit) -> web.Response:
        account = self._state.account_of_session(hit.cookies.get("at-main"))
        if account is None or "session-id" not in hit.cookies:
            return redirect(self._world.platform.sign_in)
        return page(
            '<!doctype html><html lang="en"><title>Home</title><link rel="icon" href="data:,">'
            f'<p id="signed-in">Signed in as {escape(account)}</p></html>'
        )


def _form_page(complaint: str) -> web.Response:
    return page(
        '<!doctype html><html lang="en"><title>Sign in</title><link rel="icon" href="data:,"><h1>Sign in</h1>'
        f'<p role="alert">{escape(complaint)}</p><form method="post" action="">'
        '<label>E-mail <input type="email" name="email" autocomplete="username"></label> '
        '<label>Password <input type="password" name="password" autocomplete="current-password"></label> '
        '<button type="submit" id="sign-in">Sign in</button></form></html>'
    )
