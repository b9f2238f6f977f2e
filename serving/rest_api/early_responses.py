"""Answers of REST for which no body is read: refusals, in the form of the V2 specification, and those of open paths.

The client must come to read such an answer, although it may still send the body.
"""

import asyncio
import math
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.serving.errors import Forbidden, NotCheckable, Overloaded, TooLarge, TooSlow, Unauthenticated, told

EARLY: dict[type[Exception], HTTPStatus] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    NotCheckable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""What is found out before the application is asked."""
REFUSALS = tuple(EARLY)
ANNOUNCE = (b"content-length", b"transfer-encoding")
"""Fields that say that there is a body."""
SMALL = 64 * 1024
"""Bytes of a body that is read and thrown away before the answer, so that the connection stays usable."""
PROMPT_S = 0.1
"""That such a body may take; many clients send it in a packet of its own, right behind that of the head."""
LINGER_S, LINGER_BYTES = 1.0, 256 * 2**20
"""How much of another body is read and thrown away after the answer, so that its sender comes to read it: a connection
that is closed with unread data is reset, and the answer may be lost (RFC 9112, section 9.6)."""


def response(error: Exception) -> JSONResponse:
    """The answer for one of `REFUSALS`."""
    status = next(EARLY[kind] for kind in type(error).__mro__ if kind in EARLY)
    headers = {}
    if isinstance(error, Overloaded):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    elif isinstance(error, NotCheckable):
        headers["retry-after"] = "1"
    elif challenge := _challenge(error):
        headers["www-authenticate"] = challenge
    return JSONResponse({"error": told(error)}, status_code=status, headers=headers)


def _challenge(error: Exception) -> str:
    """What the client should bring (RFC 6750, section 3)."""
    if isinstance(error, Unauthenticated):
        return 'Bearer realm="slipway"' + (', error="invalid_token"' if error.given else "")
    if isinstance(error, Forbidden) and error.scope:
        return f'Bearer realm="slipway", error="insufficient_scope", scope="{error.scope}"'
    return ""


async def refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request whose body was not read to its end."""
    await answer_unread(response(error), scope, receive, send, late=isinstance(error, TooSlow))


async def answer_unread(app: ASGIApp, scope: Scope, receive: Receive, send: Send, late: bool = False) -> None:
    """Let an application answer that is given no body; the connection is closed if the body is not there already.

    Args:
        app: what answers.
        scope: of the request, as the other two.
        receive: gives the body.
        send: takes the answer.
        late: whether the client had its time to send the body.
    """
    size = body_size(scope)
    bodiless = {**scope, "headers": [field for field in scope["headers"] if field[0] not in ANNOUNCE]}
    invited = _waits_to_be_asked(scope)
    if size == 0 or (size <= SMALL and not late and not invited and await _discard(receive, PROMPT_S)):
        await app(bodiless, _nothing(), send)
        return

    async def send_lingering(message: Message) -> None:
        """All of the answer, but not its end, at which the connection is closed."""
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        elif not message.get("more_body", False):
            await send({**message, "more_body": True})
            if not late and not invited:
                await _discard(receive, LINGER_S)
            message = {"type": "http.response.body"}
        await send(message)

    await app(bodiless, _nothing(), send_lingering)


def _nothing() -> Receive:
    """An empty body, after which nothing comes."""
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        if message := next(messages, None):
            return message
        await asyncio.Event().wait()
        raise AssertionError("nobody sets this event")

    return receive


def _waits_to_be_asked(scope: Scope) -> bool:
    """Whether the client sends the body only when it is told to (RFC 9110, section 10.1.1), which reading would do."""
    return any(name == b"expect" for name, _ in scope["headers"])


def body_size(scope: Scope) -> float:
    """Bytes that the head of a request announces; infinite when it leaves that open."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return math.inf
    declared = headers.get(b"content-length", b"0")
    return int(declared) if declared.isdigit() and len(declared) < 20 else math.inf


async def _discard(receive: Receive, seconds: float) -> bool:
    """Read what is left of the body; returns whether its end came in time."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        return False
    return not more
