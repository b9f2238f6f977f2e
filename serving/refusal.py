"""Answers of REST that end a request early: in the form of the V2 specification, and so that the client can read it."""

import asyncio
import math
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from serving.errors import Forbidden, NotCheckable, Overloaded, TooLarge, TooSlow, Unauthenticated

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
SMALL = 64 * 1024
"""Bytes of a refused body that are read before the answer."""
LINGER_S, LINGER_BYTES = 10.0, 256 * 2**20
"""How much of a refused body is read and thrown away, so that its sender comes to read the answer: a connection that is
closed with unread data is reset, and the answer may be lost (RFC 9112, section 9.6)."""


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
    return JSONResponse({"error": str(error)}, status_code=status, headers=headers)


def _challenge(error: Exception) -> str:
    """What the client should bring (RFC 6750, section 3)."""
    if isinstance(error, Unauthenticated):
        return 'Bearer realm="slipway"' + (', error="invalid_token"' if error.given else "")
    if isinstance(error, Forbidden) and error.scope:
        return f'Bearer realm="slipway", error="insufficient_scope", scope="{error.scope}"'
    return ""


async def refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request whose body was not read to its end; a small body is, so that the connection stays usable."""
    answer = response(error)
    size = body_size(scope)
    if size == 0 or (size <= SMALL and not isinstance(error, TooSlow) and await _discard(receive)):
        await answer(scope, receive, send)
        return
    answer.headers["connection"] = "close"

    async def send_lingering(message: Message) -> None:
        """All of the answer, but not its end, at which the connection is closed."""
        if message["type"] == "http.response.body":
            message["more_body"] = True
        await send(message)

    await answer(scope, receive, send_lingering)
    if not isinstance(error, TooSlow):
        await _discard(receive)
    await send({"type": "http.response.body"})


def body_size(scope: Scope) -> float:
    """Bytes that the head of a request announces; infinite when it leaves that open."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return math.inf
    declared = headers.get(b"content-length", b"0")
    return int(declared) if declared.isdigit() and len(declared) < 20 else math.inf


async def _discard(receive: Receive) -> bool:
    """Read what is left of the body; returns whether its end came in time."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_S):
            more = True
            while more and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        return False
    return not more
