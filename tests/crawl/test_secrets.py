from __future__ import annotations

import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from earwitness.crawl.secrets import Cookie, Known, Secrets

KEY = b"key"
VALUE = 'p+a/s "ü" <1>|é%41'


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"a": VALUE}),
        json.dumps({"a": VALUE}, ensure_ascii=False),
        json.dumps({"url": f"https://a.example/?p={quote(VALUE, safe='')}&x=1"}),
        json.dumps({"body": f"email=me&password={quote_plus(VALUE)}"}),
        json.dumps({"url": f"https://a.example/?to={quote(quote(VALUE, safe=''), safe='')}"}),
        json.dumps({"url": f"https://a.example/?p={quote(VALUE, safe='').replace('%C3%BC', '%c3%bc')}"}).lower(),
    ],
    ids=["escaped", "utf-8", "query", "form", "twice", "lower case"],
)
def test_every_way_of_writing_a_secret_is_replaced(text: str):
    value = VALUE.lower() if text == text.lower() else VALUE
    secrets = Secrets(KEY)
    secrets.hide_password(value)
    clean = secrets.redact(text.encode())
    assert secrets.token(value).encode() in clean
    assert b"%C3%BC" not in clean.upper().replace(b"%25C3", b"%C3")
    json.loads(clean)


def test_tokens_are_keyed_and_equal_for_equal_values():
    assert Secrets(KEY).token("abcdef") == Secrets(KEY).token("abcdef") != Secrets(b"2").token("abcdef")
    assert len(Secrets(KEY).token("abcdef")) == len("token:") + 16


def test_bodies_in_base64_are_looked_into():
    secrets = Secrets(KEY)
    secrets.hide_password("hunter2222")
    body = base64.b64encode(b"user=me&password=hunter2222&go=1").decode()
    other = base64.b64encode(b"nothing").decode()
    raw = json.dumps({"postDataEntries": [{"bytes": body}, {"bytes": other}]}, separators=(",", ":"))
    parts = json.loads(secrets.redact(raw.encode()))["postDataEntries"]
    token = secrets.token("hunter2222")
    assert base64.b64decode(parts[0]["bytes"]).decode() == f"user=me&password={token}&go=1"
    assert parts[1]["bytes"] == other


@pytest.mark.parametrize("name", ["Authorization", "authorization", "Proxy-Authorization"])
def test_authorization_headers_are_replaced(name: str):
    raw = json.dumps({"headers": {name: 'Bearer "x"', "Cookie": "a=1"}}, separators=(",", ":"))
    clean = json.loads(Secrets(KEY).redact(raw.encode()))["headers"]
    assert clean[name].startswith("token:")
    assert clean["Cookie"] == "a=1"
    again = Secrets(KEY).redact(json.dumps({"headers": clean}, separators=(",", ":")).encode())
    assert json.loads(again)["headers"] == clean


def test_what_signing_in_sets_is_learned_and_remembered():
    secrets = Secrets(KEY)
    before = [Cookie("lang", "en_US.utf8", ".platform.example"), Cookie("ad-id", "advert-1", ".ads.example")]
    after = [
        *before,
        Cookie("session", "secret-session", ".platform.example", session=True),
        Cookie("short", "yes", "www.platform.example"),
        Cookie("uid", "advert-2", ".ads.example"),
    ]
    secrets.learn_sign_in("login.platform.example", before, after)
    text = b'"session=secret-session; lang=en_US.utf8; short=yes; uid=advert-2"'
    token = secrets.token("secret-session").encode()
    assert secrets.redact(text) == text.replace(b"secret-session", token)
    assert secrets.signed_in(after)
    assert not secrets.signed_in(before)

    # A new value under the old name is secret, too; on another domain it is not.
    assert secrets.mentions_session(b"... session=rotated-1 ...")
    secrets.learn_cookie("www.platform.example", "session", "rotated-1")
    secrets.learn_cookie("shop.example", "session", "elsewhere-1")
    later = Secrets(KEY, Known(secrets.known.domain, secrets.known.names, secrets.known.values))
    assert later.redact(b'"secret-session rotated-1 elsewhere-1"') == (
        b'"%s %s elsewhere-1"' % (token, later.token("rotated-1").encode())
    )


def test_a_password_is_not_remembered():
    secrets = Secrets(KEY)
    secrets.hide_password("a password")
    assert secrets.known.values == []


def test_signed_in_needs_to_have_signed_in():
    assert not Secrets(KEY).signed_in([Cookie("a", "b", "c.example")])


def test_what_the_jar_holds_is_secret_though_nobody_saw_it_set():
    secrets = Secrets(KEY, Known("platform.example", ["session-id"], []))
    value = "244-rotated/session+value"
    secrets.learn_jar([Cookie("session-id", value, ".platform.example"), Cookie("ad", "public-value", "ads.example")])
    assert secrets.redact_text(f"/leak?s=244-rotated%2Fsession%2Bvalue {value} public-value").count("token:") == 2
