"""The browser's cookie jar: read as a whole, and refilled with the cookies that a browser forgets when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from earwitness.crawl.cdp import Session
from earwitness.crawl.secrets import Cookie


class _Jar(msgspec.Struct):
    cookies: list[Cookie]


async def read_jar(browser: Session, redact: Callable[[bytes], bytes] | None = None) -> list[Cookie]:
    """Every cookie that the browser holds; with secrets replaced where `redact` is given."""
    raw = await browser.call("Storage.getCookies")
    return msgspec.json.decode(redact(raw) if redact else raw, type=_Jar).cookies


async def put_back(browser: Session, cookies: Sequence[Cookie]) -> None:
    """Set session cookies again."""
    if cookies:
        await browser.call("Storage.setCookies", {"cookies": [_as_parameter(c) for c in cookies]})


def _as_parameter(cookie: Cookie) -> dict[str, object]:
    parameter: dict[str, object] = {
        "name": cookie.name,
        "value": cookie.value,
        "path": cookie.path,
        "secure": cookie.secure,
        "httpOnly": cookie.http_only,
    }
    # A domain makes a cookie for all hosts under it; a cookie for one host is set by address.
    if cookie.domain.startswith("."):
        parameter["domain"] = cookie.domain
    scheme = "http" if cookie.source_scheme == "NonSecure" else "https"
    parameter["url"] = f"{scheme}://{cookie.host}{cookie.path}"
    for name, value in (
        ("sameSite", cookie.same_site),
        ("priority", cookie.priority),
        ("sourceScheme", cookie.source_scheme),
        ("partitionKey", cookie.partition_key),
    ):
        if value is not None:
            parameter[name] = value
    return parameter
