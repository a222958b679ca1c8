from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from earwitness.crawl.collectors.cookies import SetCookie, parse_set_cookie

AT = datetime(2026, 5, 1, tzinfo=UTC)
HOST = "www.a.example"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a=b", SetCookie(HOST, "a", "b", None)),
        ("a=b=c; Path=/; Secure", SetCookie(HOST, "a", "b=c", None)),
        ("a=; Domain=.A.example", SetCookie("a.example", "a", "", None)),
        ("a=b; domain=a.example; HttpOnly", SetCookie("a.example", "a", "b", None)),
        ("a=b; Domain=", SetCookie(HOST, "a", "b", None)),
        ("justvalue", SetCookie(HOST, "", "justvalue", None)),
        (" a = b ; Max-Age=60", SetCookie(HOST, "a", "b", AT + timedelta(seconds=60))),
        ("a=b; Max-Age=-1", SetCookie(HOST, "a", "b", AT - timedelta(seconds=1))),
        (
            "a=b; Expires=Wed, 09 Jun 2027 10:18:14 GMT; Max-Age=60",
            SetCookie(HOST, "a", "b", AT + timedelta(seconds=60)),
        ),
        (
            "a=b; expires=Wed, 09-Jun-2027 10:18:14 GMT",
            SetCookie(HOST, "a", "b", datetime(2027, 6, 9, 10, 18, 14, tzinfo=UTC)),
        ),
        ("a=b; Expires=whenever; Max-Age=soon", SetCookie(HOST, "a", "b", None)),
        ("a=b; Max-Age=" + "9" * 40, SetCookie(HOST, "a", "b", datetime(9999, 12, 31, tzinfo=UTC))),
    ],
)
def test_set_cookie_lines(line: str, expected: SetCookie):
    assert parse_set_cookie(line, HOST, AT) == expected
