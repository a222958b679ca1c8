"""Secrets are replaced before anything is written: the same value by the same keyed token.

What counts as secret: the password, the cookies that signing in set on the sign-in host's registrable domain (whatever
value they get later, too), and authorization headers. Values shorter than six characters are left alone: they
cannot be told from ordinary text.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote, quote_plus

import msgspec

from earwitness.parties import registrable_domain

_SHORTEST = 6
_AUTHORIZATION = re.compile(rb'("(?:proxy-)?authorization":")((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_BODY_PARTS = re.compile(rb'("postDataEntries":\[)([^\]]*)\]')
_BODY_PART = re.compile(rb'"bytes":"([^"]*)"')


class Cookie(msgspec.Struct, rename="camel"):
    """A cookie as the browser's jar holds it."""

    name: str
    value: str
    domain: str
    path: str = "/"
    expires: float = -1
    http_only: bool = False
    secure: bool = False
    session: bool = False
    same_site: str | None = None
    priority: str | None = None
    source_scheme: str | None = None
    partition_key: dict[str, str | bool] | None = None

    @property
    def host(self) -> str:
        """The domain that it is sent to, without a leading dot."""
        return self.domain.removeprefix(".")


class Known(msgspec.Struct):
    """What is remembered from pass to pass: the sign-in's domain, its cookies' names, and every value seen."""

    domain: str = ""
    names: list[str] = []
    values: list[str] = []


class Secrets:
    """Finds secret values in what is about to be written, and replaces them by keyed tokens."""

    def __init__(self, key: bytes, known: Known | None = None) -> None:
        self.known = known or Known()
        self._key = key
        self._forms: list[tuple[bytes, bytes]] = []
        for value in self.known.values:
            self._hide(value)

    def token(self, value: str) -> str:
        """What stands in the record in place of `value`."""
        digest = hmac.new(self._key, value.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"token:{digest.hexdigest()[:16]}"

    def hide_password(self, password: str) -> None:
        """Replace the password from now on; it is not remembered."""
        self._hide(password)

    def learn_sign_in(self, host: str, before: Sequence[Cookie], after: Sequence[Cookie]) -> None:
        """The cookies that signing in at `host` set on its registrable domain are secret from now on."""
        self.known.domain = registrable_domain(host)
        had = {(c.domain, c.path, c.name): c.value for c in before}
        for cookie in after:
            if registrable_domain(cookie.host) != self.known.domain:
                continue
            if had.get((cookie.domain, cookie.path, cookie.name)) == cookie.value:
                continue
            if cookie.name not in self.known.names:
                self.known.names.append(cookie.name)
            self._remember(cookie.value)

    def signed_in(self, jar: Iterable[Cookie]) -> bool:
        """Whether the jar still holds every cookie that signing in once set."""
        held = {c.name for c in jar if registrable_domain(c.host) == self.known.domain}
        return bool(self.known.names) and held.issuperset(self.known.names)

    def mentions_session(self, raw: bytes) -> bool:
        """Whether a record names a session cookie, so that its cookies should be shown to `learn_cookie`."""
        return any(name.encode() in raw for name in self.known.names)

    def learn_cookie(self, host: str, name: str, value: str) -> None:
        """A cookie of `host` (empty where unknown) was seen: if it is a session cookie, its value is secret."""
        if name in self.known.names and (not host or registrable_domain(host) == self.known.domain):
            self._remember(value)

    def learn_jar(self, jar: Iterable[Cookie]) -> None:
        """The values that session cookies have now are secret, whether or not they were seen to be set."""
        for cookie in jar:
            self.learn_cookie(cookie.host, cookie.name, cookie.value)

    def redact(self, raw: bytes) -> bytes:
        """JSON text with every secret replaced; the same bytes where there is none."""
        if b"uthorization" in raw:
            raw = _AUTHORIZATION.sub(self._redact_header, raw)
        if b'"postDataEntries":[{' in raw:
            raw = _BODY_PARTS.sub(self._redact_parts, raw)
        return self._replace(raw)

    def redact_text(self, text: str) -> str:
        """Plain text with every secret replaced."""
        return self._replace(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")

    def _replace(self, raw: bytes) -> bytes:
        for form, token in self._forms:
            if form in raw:
                raw = raw.replace(form, token)
        return raw

    def _redact_header(self, match: re.Match[bytes]) -> bytes:
        value = match[2].decode("utf-8", "replace")
        if value.startswith("token:"):
            return match[0]
        return match[1] + self.token(value).encode() + b'"'

    def _redact_parts(self, match: re.Match[bytes]) -> bytes:
        return match[1] + _BODY_PART.sub(self._redact_part, match[2]) + b"]"

    def _redact_part(self, match: re.Match[bytes]) -> bytes:
        plain = base64.b64decode(match[1])
        clean = self._replace(plain)
        return match[0] if clean == plain else b'"bytes":"%s"' % base64.b64encode(clean)

    def _remember(self, value: str) -> None:
        if len(value) >= _SHORTEST and value not in self.known.values:
            self.known.values.append(value)
            self._hide(value)

    def _hide(self, value: str) -> None:
        if len(value) < _SHORTEST or value.startswith("token:"):
            return
        token = self.token(value).encode()
        known = {form for form, _ in self._forms}
        self._forms += [(form, token) for form in _forms(value) if form not in known]
        # Longer forms first: a secret may be part of another.
        self._forms.sort(key=lambda pair: -len(pair[0]))


def _forms(value: str) -> set[bytes]:
    """The ways in which a value is written in JSON, URLs, form bodies and headers."""
    once = {
        quote(value, safe=""),
        quote(value, safe="!'()*~"),
        quote(value, safe=";,/?:@&=+$!'()*~#"),
        quote_plus(value),
        quote_plus(value, safe="*"),
    }
    twice = {quote(form, safe="") for form in once}
    lower = {re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), form) for form in once | twice}
    plain = {value, *once, *twice, *lower}
    # Chromium escapes what is not ASCII, our own encoder does not.
    return (
        {form.encode("utf-8", "surrogatepass") for form in plain}
        | {json.dumps(form)[1:-1].encode() for form in plain}
        | {json.dumps(form, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass") for form in plain}
    )
