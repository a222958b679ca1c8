"""The protocol's network and frame events, as far as hops need them."""

from __future__ import annotations

import msgspec


class Wire(msgspec.Struct, rename="camel"):
    """Fields are named as the protocol names them, in camel case."""


class BodyPart(Wire):
    """A piece of a request body, in base64; empty where it is a blob."""

    bytes: str = ""


class Request(Wire):
    """What is asked."""

    url: str
    method: str
    has_post_data: bool = False
    post_data_entries: list[BodyPart] = []


class Response(Wire):
    """What was answered, and from where."""

    status: int
    headers: dict[str, str] = {}
    from_disk_cache: bool = False
    from_service_worker: bool = False
    from_prefetch_cache: bool = False


class Call(Wire):
    """One call of a script's stack."""

    url: str = ""


class Stack(Wire):
    """A script's stack, and the one that it was scheduled from."""

    call_frames: list[Call] = []
    parent: Stack | None = None


class Initiator(Wire):
    """What caused a request."""

    type: str
    url: str = ""
    stack: Stack | None = None
    request_id: str = ""


class Sending(Wire):
    """Network.requestWillBeSent."""

    request_id: str
    request: Request
    wall_time: float
    initiator: Initiator
    document_url: str = msgspec.field(name="documentURL", default="")
    redirect_has_extra_info: bool = False
    redirect_response: Response | None = None
    type: str = ""
    frame_id: str = ""


class SentExtra(Wire):
    """Network.requestWillBeSentExtraInfo: the headers as sent."""

    request_id: str
    headers: dict[str, str]


class BlockedCookie(Wire):
    """A Set-Cookie line that the browser refused."""

    cookie_line: str
    blocked_reasons: list[str] = []


class AnswerExtra(Wire):
    """Network.responseReceivedExtraInfo: the headers as received."""

    request_id: str
    headers: dict[str, str]
    status_code: int
    blocked_cookies: list[BlockedCookie] = []


class Received(Wire):
    """Network.responseReceived."""

    request_id: str
    response: Response
    has_extra_info: bool = False


class Ended(Wire):
    """Network.loadingFinished, loadingFailed or requestServedFromCache."""

    request_id: str
    error_text: str = ""


class Frame(Wire):
    """A frame and the document in it."""

    id: str
    url: str = ""
    parent_id: str = ""


class Navigated(Wire):
    """Page.frameNavigated."""

    frame: Frame


class Attached(Wire):
    """Page.frameAttached."""

    frame_id: str
    parent_frame_id: str = ""
