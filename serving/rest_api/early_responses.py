"""Responses of REST that are made without the body of the request: refusals, and those of paths open to everybody.

The client may still be sending the body when the response is ready. This module lets it finish, within bounds, so that
it reads the response.
"""

import asyncio
import math
from http import HTTPStatus

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.serving.errors import (
    Encoded,
    Forbidden,
    NotCheckable,
    Overloaded,
    TooLarge,
    TooSlow,
    Unauthenticated,
    client_message,
)

EARLY: dict[type[Exception], HTTPStatus] = {
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Encoded: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    NotCheckable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Errors that are raised before the application is called, with their status."""
REFUSALS = tuple(EARLY)
BODY_FIELDS = (b"content-length", b"transfer-encoding")
"""Header fields that announce a body."""
SMALL = 64 * 1024
"""Bytes up to which a body is read and discarded before the response, so that the connection can be kept."""
PROMPT_S = 0.1
"""Time for such a body to arrive. Many clients send it in a packet of its own, right after that of the head."""
LINGER_S, LINGER_BYTES = 1.0, 256 * 2**20
"""Time and bytes of any other body that is read and discarded after the response. A connection that is closed with
unread data is reset, and the client may lose the response (RFC 9112, section 9.6)."""


def response(error: Exception) -> JSONResponse:
    """The response to a request that ends with one of `REFUSALS`."""
    status = next(EARLY[kind] for kind in type(error).__mro__ if kind in EARLY)
    headers = {}
    if isinstance(error, Overloaded):
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
    elif isinstance(error, NotCheckable):
        headers["retry-after"] = "1"
    elif isinstance(error, Encoded):
        headers["accept-encoding"] = "identity"  # RFC 9110, section 12.5.3
    elif challenge := _challenge(error):
        headers["www-authenticate"] = challenge
    return JSONResponse({"error": client_message(error)}, status_code=status, headers=headers)


def _challenge(error: Exception) -> str:
    """The field WWW-Authenticate, which names the credentials that the client needs (RFC 6750, section 3)."""
    if isinstance(error, Unauthenticated):
        return 'Bearer realm="slipway"' + (', error="invalid_token"' if error.given else "")
    if isinstance(error, Forbidden) and error.scope:
        return f'Bearer realm="slipway", error="insufficient_scope", scope="{error.scope}"'
    return ""


async def refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a request whose body was not read to its end; `error` is one of `REFUSALS`."""
    await answer_unread(response(error), scope, receive, send, late=isinstance(error, TooSlow))


async def answer_unread(app: ASGIApp, scope: Scope, receive: Receive, send: Send, late: bool = False) -> None:
    """Call an application with an empty body. Unless the body is small and prompt, the connection is closed afterwards.

    Args:
        app: makes the response.
        scope: ASGI scope of the request.
        receive: yields the body.
        send: takes the response.
        late: whether the client has used up its time for the body, so that nothing more of it is awaited.
    """
    size = body_size(scope)
    bodiless = {**scope, "headers": [field for field in scope["headers"] if field[0] not in BODY_FIELDS]}
    # uvicorn sends "100 Continue" at the first read, which would ask the client for a body that nobody needs.
    expects_continue = _expects_continue(scope)
    if size == 0 or (size <= SMALL and not late and not expects_continue and await _discard(receive, PROMPT_S)):
        await app(bodiless, _empty_body(), send)
        return

    async def send_lingering(message: Message) -> None:
        """Send the response, but hold its end back while the body is discarded: uvicorn closes at the end."""
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        elif not message.get("more_body", False):
            await send({**message, "more_body": True})
            if not late and not expects_continue:
                await _discard(receive, LINGER_S)
            message = {"type": "http.response.body"}
        await send(message)

    await app(bodiless, _empty_body(), send_lingering)


def _empty_body() -> Receive:
    """An ASGI `receive` that yields an empty body, and then waits forever."""
    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        if message := next(messages, None):
            return message
        await asyncio.Event().wait()
        raise AssertionError("nobody sets this event")

    return receive


def _expects_continue(scope: Scope) -> bool:
    """Whether the client sends the body only after a response 100 (RFC 9110, section 10.1.1)."""
    return any(name == b"expect" for name, _ in scope["headers"])


def body_size(scope: Scope) -> float:
    """Bytes of the body that the head of a request announces; infinite if it does not say how many."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return math.inf
    declared = headers.get(b"content-length", b"0")
    # `int` of a very long number takes quadratic time; 20 digits are beyond any body.
    return int(declared) if declared.isdigit() and len(declared) < 20 else math.inf


async def _discard(receive: Receive, seconds: float) -> bool:
    """Read and discard the rest of the body; returns whether its end came in time."""
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
