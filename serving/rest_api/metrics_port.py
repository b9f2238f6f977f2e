"""A port for the metrics alone. Scrapers need no key there, and clients and their gateways should not reach it."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from slipway.serving.access.rules import METRICS
from slipway.serving.rest_api.endpoints import Handler, json_response

READING = ("GET", "HEAD")


class MetricsPort:
    """ASGI middleware for an application on two ports: on one of them it serves the metrics and nothing else.

    Args:
        app: the application, which answers on the other port.
        port: the port of the metrics.
        page: makes the response with the metrics.
    """

    def __init__(self, app: ASGIApp, port: int, page: Handler) -> None:
        self.app = app
        self._port = port
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        # `server` is the socket's address, not the header Host, which the client could set to the other port.
        if scope["type"] != "http" or scope["server"][1] != self._port:
            await self.app(scope, receive, send)
            return
        if scope["path"] == METRICS and scope["method"] in READING:
            response = await self._page(Request(scope))
        else:
            response = json_response({"error": f"here is only GET {METRICS}"}, {"connection": "close"})
            response.status_code = 404
        await response(scope, receive, send)
