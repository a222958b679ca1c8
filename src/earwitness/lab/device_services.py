"""The HTTP/1.1 side of a speaker's life: token, captive portal, time, updates, metrics, and the audio streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web

from earwitness.lab.received_data import data_in_document
from earwitness.lab.streams import hop_at, stream_audio

if TYPE_CHECKING:
    from earwitness.lab.platform_state import PlatformState
    from earwitness.lab.truth import Truth
    from earwitness.lab.world import World

_TOKEN_LIVES_S = 3600


async def answer_device(
    request: web.Request,
    profile: str,
    body: bytes,
    world: World,
    truth: Truth,
    state: PlatformState,
) -> web.StreamResponse:
    """Answer a request of a speaker to one of the platform's device hosts or to a stream host.

    `body` is the request's body, already read. `profile` is who asked, for the truth alone: one row of
    `truth_speaker`, whose sizes are those of the bodies, without headers and TLS, and the rows of `truth_data`.
    """
    host = request.host.partition(":")[0].lower()
    skill = None
    if hop := hop_at(world, host, request.path):
        skill = hop.skill
        response = _redirect(hop.location) if hop.location else _audio(await stream_audio(hop.text))
    else:
        response = _housekeeping(request, host, body, world, state)
        _note_data(request, host, profile, body, truth)
    down = response.body if isinstance(response.body, bytes) else b""
    truth.write(
        "truth_speaker",
        profile=profile,
        skill=skill,
        host=host,
        bytes_up=len(body),
        bytes_down=len(down),
    )
    return response


def _housekeeping(request: web.Request, host: str, body: bytes, world: World, state: PlatformState) -> web.Response:
    hosts = world.platform.device_hosts
    match host, request.method, request.path:
        case world.platform.token_host, "POST", "/auth/O2/token":
            return _token(request, body, state)
        case where, "GET", "/generate_204" if where == hosts["captive_portal"]:
            return web.Response(status=204)
        case where, "GET", "/time" if where == hosts["time"]:
            return web.Response(text="ok")  # the Date header is the answer
        case where, "GET", "/check" if where == hosts["updates"]:
            return web.Response(status=204)
        case where, "POST", "/metricsBatch" if where == hosts["metrics"]:
            return web.Response(status=204 if isinstance(_document(request, body), dict) else 400)
    return web.Response(status=404)


def _token(request: web.Request, body: bytes, state: PlatformState) -> web.Response:
    """Exchange a refresh token for an access token (RFC 6749, section 6)."""
    asked = _document(request, body)
    if not isinstance(asked, dict) or asked.get("grant_type") != "refresh_token":
        return web.json_response({"error": "unsupported_grant_type"}, status=400)
    account = state.account_of_refresh_token(str(asked.get("refresh_token")))
    if account is None:
        return web.json_response({"error": "invalid_grant"}, status=400)
    return web.json_response(
        {
            "access_token": state.access_token(account),
            "token_type": "bearer",
            "expires_in": _TOKEN_LIVES_S,
        }
    )


def _redirect(location: str) -> web.Response:
    return web.Response(status=302, headers={"Location": location})


def _audio(sound: bytes) -> web.Response:
    return web.Response(body=sound, content_type="audio/wav")


def _document(request: web.Request, body: bytes) -> Any:
    """The body as JSON or as a form; None where it is neither."""
    if request.content_type == "application/json":
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            return None
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(body.decode("latin-1")))
    return None


def _note_data(request: web.Request, host: str, profile: str, body: bytes, truth: Truth) -> None:
    found = data_in_document(dict(request.query), "query")
    found += data_in_document(_document(request, body), "body")
    for data_type, field in found:
        truth.write("truth_data", profile=profile, host=host, data_type=data_type, field=field)
