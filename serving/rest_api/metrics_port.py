"""A port for the metrics alone: who scrapes has no key, and clients and their gateways have no way there."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from slipway.serving.access.rules import METRICS
from slipway.serving.rest_api.endpoints import Handler, answer

READING = ("GET", "HEAD")


class MetricsPort:
    """The outermost part of an application on two ports: on one of them it answers with its metrics and nothing else.

    Args:
        app: answers on the other port.
        port: where the metrics are.
        page: answers with them.
    """

    def __init__(self, app: ASGIApp, port: int, page: Handler) -> None:
        self.app = app
        self._port = port
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI). By which port it came says the connection, not a header of the request."""
        if scope["type"] != "http" or scope["server"][1] != self._port:
            await self.app(scope, receive, send)
            return
        if scope["path"] == METRICS and scope["method"] in READING:
            found = await self._page(Request(scope))
        else:
            found = answer({"error": f"here is only GET {METRICS}"}, {"connection": "close"})
            found.status_code = 404
        await found(scope, receive, send)
