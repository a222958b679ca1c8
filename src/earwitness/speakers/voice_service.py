"""The voice service as a device sees it: an access token, one HTTP/2 connection, a downchannel, events and answers."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from earwitness.model.errors import BadInput
from earwitness.model.network import DeviceLink
from earwitness.speakers.directives import Directive, parse_answer
from earwitness.speakers.http1 import fetch
from earwitness.speakers.http2 import Http2Connection
from earwitness.speakers.multipart import form_data
from earwitness.speakers.transport import Unreachable

_EVENTS, _DIRECTIVES = "/v20160207/events", "/v20160207/directives"
_TOKEN = "https://api.amazon.com/auth/O2/token"  # noqa: S105 (an address)
_CLIENT = "amzn1.application-oa2-client.earwitness"
_ANSWER_WAIT_S, _TOKEN_WAIT_S = 15.0, 10.0
_MOST_TOKEN_BYTES = 2**16
_TOKEN_MARGIN_S = 60.0

Context = Sequence[Mapping[str, object]]

_Result = TypeVar("_Result")


class Failure(Exception):
    """Something that becomes a gap: what was being looked at, a reason word, one line for people. Never a secret."""

    def __init__(self, subject: str, reason: str, detail: str) -> None:
        self.subject, self.reason, self.detail = subject, reason, detail
        super().__init__(f"{subject}: {reason}: {detail}")


class VoiceService:
    """A device's conversation with `host`.

    A lost downchannel is opened again at once, but only once until `allow_reconnect` is called, so that a service
    that always hangs up is not called for ever. What happens in the background and fails goes to `note`.
    """

    def __init__(
        self,
        link: DeviceLink,
        host: str,
        *,
        h1_tls: ssl.SSLContext,
        h2_tls: ssl.SSLContext,
        refresh_token: str,
        seed: int,
        context: Callable[[], Context],
        note: Callable[[Failure], None],
    ) -> None:
        """Describe the service; nothing is sent yet.

        `h1_tls` is for the token, `h2_tls` for the service; `seed` draws message ids; `context` gives the device's
        state, which goes beside every event.
        """
        self._link, self._host, self._h1_tls, self._h2_tls = link, host, h1_tls, h2_tls
        self._refresh_token, self._context, self._note = refresh_token, context, note
        self._random = random.Random(f"{seed}/message ids")
        self._connecting = asyncio.Lock()
        self._connection: Http2Connection | None = None
        self._downchannel: asyncio.Future[None] | None = None
        self._synchronized = False
        self._watches: set[asyncio.Task[None]] = set()
        self._may_reconnect = True
        self._token, self._token_until = "", 0.0

    def message_id(self) -> str:
        """A new identifier for a message or a dialogue (UUID)."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def allow_reconnect(self) -> None:
        """Allow one more reconnection in the background."""
        self._may_reconnect = True

    async def connect(self) -> None:
        """Be connected, with an open downchannel and a synchronized state; does nothing when all is well.

        Raises:
            Failure: it cannot be done.
        """
        await self._within_time("no connection", self._connected())

    async def post(
        self,
        namespace: str,
        name: str,
        payload: Mapping[str, object],
        dialog: str | None = None,
        sound: bytes | None = None,
    ) -> list[Directive]:
        """Send an event and return the directives that answer it.

        `dialog` is the dialogue it belongs to, `sound` the 16 kHz PCM of an utterance. Connects where necessary; an
        event that was lost is not sent again, because the service may have acted on it.

        Raises:
            Failure: it was not delivered, not accepted, or not answered as AVS documents.
        """
        return await self._within_time(f"no answer to {name}", self._posted(namespace, name, payload, dialog, sound))

    async def close(self) -> None:
        """Close the downchannel and the connection in order."""
        self._may_reconnect = False
        for watch in self._watches:
            watch.cancel()
        if self._watches:
            await asyncio.wait(self._watches)
        if self._connection:
            await self._connection.close()

    async def _within_time(self, otherwise: str, work: Awaitable[_Result]) -> _Result:
        try:
            async with asyncio.timeout(_ANSWER_WAIT_S):
                return await work
        except Unreachable as error:
            raise Failure(self._host, error.reason, str(error)) from error
        except TimeoutError as error:
            raise Failure(self._host, "timeout", f"{otherwise} within {_ANSWER_WAIT_S:g} s") from error
        except ConnectionError as error:
            raise Failure(self._host, "reset", str(error)) from error

    async def _connected(self) -> Http2Connection:
        async with self._connecting:
            if time.monotonic() > self._token_until:
                await self._fetch_token()
            if self._connection and self._connection.lost:
                await self._connection.close()
                self._connection = None
            if self._connection is None:
                self._connection = await Http2Connection.open(self._link, self._host, self._h2_tls)
                self._downchannel = None
            if self._downchannel is None or self._downchannel.done():
                self._synchronized = False
                status, over = await self._connection.open_downchannel(_DIRECTIVES, self._authorization())
                if status != 200:
                    raise Failure(self._host, "status", f"the downchannel was answered {status}")
                self._downchannel = over
                watch = asyncio.create_task(self._watch(over))
                self._watches.add(watch)
                watch.add_done_callback(self._watches.discard)
            if not self._synchronized:
                await self._exchange(self._connection, "System", "SynchronizeState", {}, None, None)
                self._synchronized = True
            return self._connection

    async def _posted(
        self, namespace: str, name: str, payload: Mapping[str, object], dialog: str | None, sound: bytes | None
    ) -> list[Directive]:
        connection = await self._connected()
        return await self._exchange(connection, namespace, name, payload, dialog, sound)

    async def _exchange(
        self,
        connection: Http2Connection,
        namespace: str,
        name: str,
        payload: Mapping[str, object],
        dialog: str | None,
        sound: bytes | None,
    ) -> list[Directive]:
        header = {"namespace": namespace, "name": name, "messageId": self.message_id()}
        if dialog:
            header["dialogRequestId"] = dialog
        metadata = {"context": self._context(), "event": {"header": header, "payload": payload}}
        fields = [("metadata", "application/json; charset=UTF-8", json.dumps(metadata).encode())]
        if sound is not None:
            fields.append(("audio", "application/octet-stream", sound))
        content_type, body = form_data(fields)
        headers = [*self._authorization(), ("content-type", content_type)]
        response = await connection.request("POST", _EVENTS, headers, body)
        if response.status == 204 or (response.status == 200 and not response.body):
            return []
        if response.status != 200:
            raise Failure(self._host, "status", f"{name} was answered {response.status}")
        try:
            return parse_answer(response.headers.get("content-type", ""), response.body)
        except BadInput as error:
            raise Failure(self._host, "bad_response", f"answer to {name}: {error}") from error

    async def _watch(self, downchannel: asyncio.Future[None]) -> None:
        """Wait for the end of a downchannel, note it, and connect again if that is still allowed."""
        detail = f"{self._host} ended the downchannel"
        try:
            await downchannel
        except ConnectionError as error:
            detail = str(error)
        self._note(Failure(self._host, "downchannel_lost", detail))
        if self._may_reconnect:
            self._may_reconnect = False
            try:
                await self.connect()
            except Failure as failure:
                self._note(failure)

    async def _fetch_token(self) -> None:
        form = {"grant_type": "refresh_token", "refresh_token": self._refresh_token, "client_id": _CLIENT}
        fetched = await fetch(
            self._link,
            self._h1_tls,
            "POST",
            _TOKEN,
            {"Content-Type": "application/x-www-form-urlencoded"},
            urlencode(form).encode(),
            most_bytes=_MOST_TOKEN_BYTES,
            wait_s=_TOKEN_WAIT_S,
        )
        if fetched.failure:
            raise Failure("access token", *fetched.failure)
        try:
            answer = msgspec.json.decode(fetched.body, type=_TokenAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # The error is not quoted: it might quote the token.
            raise Failure("access token", "bad_response", "the answer holds no access token") from error
        self._token = answer.access_token
        self._token_until = time.monotonic() + answer.expires_in - _TOKEN_MARGIN_S

    def _authorization(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self._token}")]


class _TokenAnswer(msgspec.Struct):
    access_token: str
    expires_in: float
