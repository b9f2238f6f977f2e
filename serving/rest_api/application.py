"""The REST server: endpoints behind access checks and limits, with errors in the form of the V2 specification."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import fastapi
import uvicorn
from fastapi.responses import JSONResponse
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
from kserve.protocol.rest.server import RESTServer
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from slipway.serving.access import Access
from slipway.serving.access.byte_budget import Budget
from slipway.serving.access.rules import METRICS
from slipway.serving.access.tls import Certificates, server_context
from slipway.serving.errors import Forbidden, InferenceFailed, Malformed, Overloaded, TooLarge, client_message
from slipway.serving.limits import Limits
from slipway.serving.model.repository import BundleRepository
from slipway.serving.protocol.dataplane import BundleDataPlane
from slipway.serving.rest_api.access import AccessMiddleware
from slipway.serving.rest_api.body_limits import BodyLimitMiddleware
from slipway.serving.rest_api.endpoints import Endpoints
from slipway.serving.rest_api.listener import listen
from slipway.serving.rest_api.metrics_port import MetricsPort
from slipway.serving.rest_api.openapi import document
from slipway.serving.rest_api.schemas import Served
from slipway.serving.telemetry.metrics import metrics_text
from slipway.serving.telemetry.middleware import ObservingMiddleware
from slipway.serving.telemetry.request_record import Recorder

logger = logging.getLogger("serving")
STATUS: dict[type[Exception], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    Forbidden: HTTPStatus.FORBIDDEN,
    ModelNotFound: HTTPStatus.NOT_FOUND,
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Malformed: HTTPStatus.UNPROCESSABLE_ENTITY,
    Overloaded: HTTPStatus.TOO_MANY_REQUESTS,
    InferenceFailed: HTTPStatus.INTERNAL_SERVER_ERROR,
    NotImplementedError: HTTPStatus.NOT_IMPLEMENTED,
    ModelNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
    ServerNotReady: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRYABLE = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""Statuses of responses that carry Retry-After."""


class RestServer(RESTServer):  # type: ignore[misc]  # kserve is not typed
    """Serves a data plane on a bound socket, and its metrics there or on a socket of their own.

    Args:
        dataplane: answers the requests.
        repository: loads, unloads and lists the model.
        listener: bound socket for clients.
        limits: bounds on requests, connections and times.
        recorder: is called for every request except probes and scrapes.
        access: the access checks.
        budget: bytes for the bodies of all requests, shared with gRPC.
        certificates: for TLS; None for no TLS.
        metrics: bound socket for the metrics; None to serve them on `listener`.

    Raises:
        BadInput: the certificates cannot be used.
    """

    def __init__(
        self,
        dataplane: BundleDataPlane,
        repository: BundleRepository,
        listener: socket.socket,
        limits: Limits,
        recorder: Recorder,
        access: Access,
        budget: Budget,
        certificates: Certificates | None = None,
        metrics: socket.socket | None = None,
    ) -> None:
        port = listener.getsockname()[1]
        super().__init__("kserve.model_server:app", dataplane, repository, port)
        self.config.access_log = False
        self.config.ws = "none"
        # asyncio can leak context variables between tasks (python/cpython#140947), and the caller of a request is one.
        self.config.reset_contextvars = True
        self.config.timeout_keep_alive = limits.idle_seconds
        if certificates:
            context = server_context(certificates)
            self.config.ssl_context_factory = lambda *_: context
        self.access = access
        self.budget = budget
        self.listener, self.metrics = listener, metrics
        self.limits = limits
        self.recorder = recorder
        self._server = _Server(self.config, limits)

    async def start(self) -> None:
        """Serve until `stop` is called."""
        self.create_application()
        await self._server.serve(sockets=[self.listener, *([self.metrics] if self.metrics else [])])

    def stop(self) -> None:
        """Accept no more connections; `start` returns when the requests at hand are answered."""
        self._server.should_exit = True

    @property
    def started(self) -> bool:
        """Whether connections are accepted."""
        return self._server.started

    def _register_endpoints(self, app: fastapi.FastAPI) -> None:
        app.openapi = self._document  # type: ignore[method-assign]
        if not self.metrics:
            app.add_route(METRICS, self._metrics, methods=["GET"])
        Endpoints(self.dataplane, self.model_repository_extension).register(app)

    def _document(self) -> dict[str, Any]:
        """The document at `/openapi.json`."""
        model = next(iter(self.dataplane.model_registry.get_models().values()))
        labels = tuple(getattr(model, "labels", ()))
        return document(Served(model.name, model.version, labels, self.limits, not self.access.insecure))

    async def _metrics(self, request: Request) -> Response:
        """The response to a scrape by Prometheus."""
        self.recorder.ready(await self.dataplane.ready())
        content, content_type = metrics_text(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    def _add_exception_handlers(self, app: fastapi.FastAPI) -> None:
        for kind in STATUS:
            app.add_exception_handler(kind, _refuse)
        app.add_exception_handler(HTTPException, _refuse_route)
        app.add_exception_handler(Exception, _fail)

    def _add_middlewares(self, app: fastapi.FastAPI) -> None:
        app.add_middleware(BodyLimitMiddleware, dataplane=self.dataplane, limits=self.limits, budget=self.budget)
        app.add_middleware(AccessMiddleware, access=self.access)
        # Starlette makes the last one the outermost. So every response is recorded, whatever made it, except those on
        # the port of the metrics, which clients do not reach.
        app.add_middleware(ObservingMiddleware, recorder=self.recorder)
        if self.metrics:
            app.add_middleware(MetricsPort, port=self.metrics.getsockname()[1], page=self._metrics)


class _Server(uvicorn.Server):
    """A uvicorn server with Slipway's connections. The model server handles the signals, since it drains both ports."""

    def __init__(self, config: uvicorn.Config, limits: Limits) -> None:
        super().__init__(config)
        self._limits = limits

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on bound sockets; overrides uvicorn's method, which makes the connections itself."""
        await self.lifespan.startup()
        self.servers = []
        for listener in sockets or ():
            listening = await listen(listener, self.config, self.server_state, self.lifespan, self._limits)
            self.servers.append(listening)  # type: ignore[arg-type]  # it has the methods that uvicorn calls
        self.started = True
        logger.info("event=listening http_port=%d tls=%s", self.config.port, bool(self.config.ssl))


def _error(status: int, message: str) -> JSONResponse:
    headers = {"retry-after": "1"} if status in RETRYABLE else {}
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    logger.warning("event=refused path=%r status=%d reason=%r", request.url.path[:200], status, client_message(error))
    return _error(status, client_message(error))


async def _refuse_route(request: Request, error: Exception) -> Response:
    """Answer a request for an unknown path, or with a method that the path does not allow."""
    assert isinstance(error, HTTPException)
    logger.warning("event=refused path=%r status=%d", request.url.path[:200], error.status_code)
    response = _error(error.status_code, f"{error.detail}: {request.method} {request.url.path[:200]}")
    response.headers.update(error.headers or {})  # a 405 has Allow here, which RFC 9110 demands
    return response


async def _fail(request: Request, error: Exception) -> Response:
    """Answer a request on which the server has a defect. The details go to the log, not to the client."""
    logger.error("event=failed path=%r error=%s", request.url.path[:200], type(error).__name__)
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal server error")
