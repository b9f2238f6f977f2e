"""The innermost middleware of REST: it reads the whole body of a request, within limits of size, time and memory."""

import asyncio
import math
from collections.abc import Awaitable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.serving.access.byte_budget import Budget, Portion
from slipway.serving.access.caller import current_caller
from slipway.serving.errors import Encoded, Overloaded, TooLarge, TooSlow
from slipway.serving.limits import Limits
from slipway.serving.protocol.dataplane import BundleDataPlane
from slipway.serving.rest_api.early_responses import body_size, refuse


class BodyLimitMiddleware:
    """ASGI middleware that refuses bodies that are too large or too slow.

    It also ends keep-alive connections while the server drains, and cancels the work for a client that has gone.
    """

    def __init__(self, app: ASGIApp, dataplane: BundleDataPlane, limits: Limits, budget: Budget) -> None:
        self.app = app
        self.dataplane = dataplane
        self.limits = limits
        self.budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with self.budget.portion(current_caller()) as portion:
            await self._answer(portion, scope, receive, send)

    async def _answer(self, portion: Portion, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_closing(message: Message) -> None:
            if self.dataplane.draining and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        try:
            async with asyncio.timeout(self.limits.body_seconds):
                body = await self._body(portion, scope, receive)
        except (TooLarge, Encoded, Overloaded) as error:
            portion.resize(0)
            await refuse(error, scope, receive, send)
            return
        except TimeoutError:
            portion.resize(0)
            slow = TooSlow(f"the body did not arrive within {self.limits.body_seconds:g} s")
            await refuse(slow, scope, receive, send)
            return
        except ConnectionError:
            return
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive_body() -> Message:
            return next(messages, None) or await receive()

        await self._until_disconnect(self.app(scope, receive_body, send_closing), receive)

    @staticmethod
    async def _until_disconnect(response: Awaitable[None], receive: Receive) -> None:
        """Await the response, or cancel it when the client disconnects: its texts then leave the queue."""
        responding = asyncio.ensure_future(response)
        disconnect = asyncio.ensure_future(receive())  # after the body, ASGI has only the message of a disconnect
        try:
            await asyncio.wait((responding, disconnect), return_when=asyncio.FIRST_COMPLETED)
        finally:
            disconnect.cancel()
            responding.cancel()
        with suppress(asyncio.CancelledError):
            await responding

    async def _body(self, portion: Portion, scope: Scope, receive: Receive) -> bytes:
        """Read the whole body. Bytes that the head announces are taken from the budget before they are read.

        Raises:
            Encoded: the body is compressed.
            TooLarge: the body has more bytes than the server accepts.
            Overloaded: the budget has no room for the body.
            ConnectionError: the client has disconnected.
        """
        limit = self.limits.body
        for name, value in scope["headers"]:
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                encoding = value[:40].decode("latin-1")
                raise Encoded(f"the body has the Content-Encoding {encoding}; send it as it is, without compression")
        if limit < (declared := body_size(scope)) < math.inf:
            raise TooLarge(f"the body has {declared} bytes; at most {limit} are accepted")
        if 0 < declared < math.inf:
            portion.grow(int(declared))
        parts: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise TooLarge(f"the body has more than the {limit} bytes that are accepted")
            if size > portion.size:
                portion.grow(size - portion.size)
            more = message.get("more_body", False)
            parts.append(part)
        return b"".join(parts)
