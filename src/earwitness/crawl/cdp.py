"""The Chrome DevTools Protocol over one WebSocket, many sessions ("flat" mode).

Nothing here knows what a command means. Events are handed on as the bytes that came, so that they can be kept
as evidence before anybody interprets them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")


class BrowserGone(ConnectionError):
    """The browser ended, or its connection broke."""


class CommandFailed(RuntimeError):
    """The browser refused a command."""


class _Refusal(msgspec.Struct):
    message: str = ""


class _Message(msgspec.Struct, rename={"session": "sessionId"}):
    id: int = 0
    session: str = ""
    result: msgspec.Raw = msgspec.Raw(b"{}")
    error: _Refusal | None = None


_decode_message = msgspec.json.Decoder(_Message).decode


_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


class Connection:
    """One WebSocket to one browser.

    `on_event` is called with the bytes of every event, in order, from the reading task; it must not block.
    `gone` gets the reason once the connection has ended.
    """

    def __init__(self, on_event: Callable[[bytes], None]) -> None:
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._on_event = on_event
        self._answers: dict[int, asyncio.Future[bytes]] = {}
        self._outgoing: asyncio.Queue[str] = asyncio.Queue()
        self._last_id = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._http: aiohttp.ClientSession | None = None

    async def open(self, url: str) -> None:
        """Connect to the browser's WebSocket address.

        Raises:
            BrowserGone: nothing answers there.
        """
        import aiohttp  # 0.2 s to import, and only a browser needs it

        self._http = aiohttp.ClientSession()
        try:
            socket = await self._http.ws_connect(url, max_msg_size=0, decode_text=False)
        except aiohttp.ClientError as error:
            await self._http.close()
            raise BrowserGone(f"no connection to the browser: {error}") from error
        self._tasks = [
            asyncio.create_task(self._read(socket)),
            asyncio.create_task(self._write(socket)),
        ]

    async def close(self) -> None:
        """Close the connection; open commands fail with `BrowserGone`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()
        self._end("the connection was closed")

    def post(self, method: str, params: Mapping[str, object] | None = None, session: str = "") -> asyncio.Future[bytes]:
        """Send a command without waiting.

        Commands leave in the order of the calls. Nobody has to look at the returned future.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_looked_at)
        if self.gone.done():
            answer.set_exception(BrowserGone(self.gone.result()))
            return answer
        self._last_id += 1
        self._answers[self._last_id] = answer
        message: dict[str, object] = {"id": self._last_id, "method": method}
        if params:
            message["params"] = params
        if session:
            message["sessionId"] = session
        self._outgoing.put_nowait(msgspec.json.encode(message).decode())
        return answer

    async def _read(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        reason = "the browser ended"
        try:
            async for message in socket:
                data = message.data
                if not isinstance(data, bytes):
                    break
                if b"\\ud" in data or b"\\uD" in data:
                    data = well_formed(data)
                # Chromium writes `id` or `method` first; looking costs less than decoding.
                if data.startswith(b'{"id":'):
                    self._answer(data)
                else:
                    self._on_event(data)
        except msgspec.MsgspecError as error:
            reason = f"the browser says something that is not understood: {error}"
        finally:
            self._end(reason)

    def _answer(self, data: bytes) -> None:
        message = _decode_message(data)
        future = self._answers.pop(message.id, None)
        if future is None or future.done():
            return
        if message.error is not None:
            future.set_exception(CommandFailed(message.error.message))
        else:
            future.set_result(bytes(message.result))

    async def _write(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> None:
        try:
            while True:
                await socket.send_str(await self._outgoing.get())
        except ConnectionError:
            self._end("the browser ended")

    def _end(self, reason: str) -> None:
        if not self.gone.done():
            self.gone.set_result(reason)
        for future in self._answers.values():
            if not future.done():
                future.set_exception(BrowserGone(self.gone.result()))
        self._answers.clear()


class Session:
    """A connection to one target: a page, frame or worker, or (with the id "") the browser itself.

    `url` is where the target was when it was attached to.
    """

    def __init__(
        self,
        connection: Connection,
        session: str = "",
        kind: str = "browser",
        target: str = "",
        url: str = "",
    ) -> None:
        self.id, self.kind, self.target, self.url = session, kind, target, url
        self._connection = connection

    def post(self, method: str, params: Mapping[str, object] | None = None) -> asyncio.Future[bytes]:
        """Send a command without waiting; see `Connection.post`."""
        return self._connection.post(method, params, self.id)

    async def call(self, method: str, params: Mapping[str, object] | None = None) -> bytes:
        """Send a command and wait for the JSON of its result.

        Raises:
            CommandFailed: the browser refused.
            BrowserGone: it ended meanwhile.
        """
        return await self.post(method, params)

    async def ask(self, answer: type[T], method: str, params: Mapping[str, object] | None = None) -> T:
        """Send a command and decode its result.

        Raises:
            CommandFailed: the browser refused.
            BrowserGone: it ended meanwhile.
        """
        return msgspec.json.decode(await self.post(method, params), type=answer)


def well_formed(raw: bytes) -> bytes:
    """JSON text with U+FFFD for each half of a surrogate pair that stands alone.

    Pages may hold such halves, and the browser passes them on, but they are no text.
    """
    return _ESCAPE.sub(_whole, raw)


def _whole(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape["lone"] else escape[0]


def _looked_at(future: asyncio.Future[bytes]) -> None:
    if not future.cancelled():
        future.exception()
