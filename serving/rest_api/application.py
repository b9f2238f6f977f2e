"""The REST side: endpoints behind access checks and limits, with errors in the form of the V2 specification."""

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
from slipway.serving.errors import Forbidden, InferenceFailed, Malformed, Overloaded, TooLarge, told
from slipway.serving.limits import Limits
from slipway.serving.model.repository import BundleRepository
from slipway.serving.protocol.dataplane import BundleDataPlane
from slipway.serving.rest_api.access import Checked
from slipway.serving.rest_api.body_limits import Guard
from slipway.serving.rest_api.endpoints import Endpoints
from slipway.serving.rest_api.listener import listen
from slipway.serving.rest_api.metrics_port import MetricsPort
from slipway.serving.rest_api.openapi import document
from slipway.serving.rest_api.schemas import Served
from slipway.serving.telemetry.metrics import page
from slipway.serving.telemetry.middleware import Observed
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
COME_BACK = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class RestServer(RESTServer):  # type: ignore[misc]  # kserve is not typed
    """Serves a data plane on a socket that is bound already, and its metrics there or on a socket of their own."""

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
        """Serve until `stop`."""
        self.create_application()
        await self._server.serve(sockets=[self.listener, *([self.metrics] if self.metrics else [])])

    def stop(self) -> None:
        """Take no more connections; `start` returns when the requests at hand are answered."""
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
        """What `/openapi.json` shows."""
        model = next(iter(self.dataplane.model_registry.get_models().values()))
        labels = tuple(getattr(model, "labels", ()))
        return document(Served(model.name, model.version, labels, self.limits, not self.access.insecure))

    async def _metrics(self, request: Request) -> Response:
        """What Prometheus scrapes."""
        self.recorder.ready(await self.dataplane.ready())
        content, content_type = page(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    def _add_exception_handlers(self, app: fastapi.FastAPI) -> None:
        for kind in STATUS:
            app.add_exception_handler(kind, _refuse)
        app.add_exception_handler(HTTPException, _refuse_route)
        app.add_exception_handler(Exception, _fail)

    def _add_middlewares(self, app: fastapi.FastAPI) -> None:
        app.add_middleware(Guard, dataplane=self.dataplane, limits=self.limits, budget=self.budget)
        app.add_middleware(Checked, access=self.access)
        app.add_middleware(Observed, recorder=self.recorder)  # last, so that it is outermost and sees every answer
        if self.metrics:  # but those of the other port, where no client is
            app.add_middleware(MetricsPort, port=self.metrics.getsockname()[1], page=self._metrics)


class _Server(uvicorn.Server):
    """Listens with connections of our own, and leaves the signals to the model server, which drains both ports."""

    def __init__(self, config: uvicorn.Config, limits: Limits) -> None:
        super().__init__(config)
        self._limits = limits

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on sockets that are bound."""
        await self.lifespan.startup()
        self.servers = []
        for listener in sockets or ():
            listening = await listen(listener, self.config, self.server_state, self.lifespan, self._limits)
            self.servers.append(listening)  # type: ignore[arg-type]  # it has what uvicorn uses
        self.started = True
        logger.info("event=listening http_port=%d tls=%s", self.config.port, bool(self.config.ssl))


def _error(status: int, message: str) -> JSONResponse:
    headers = {"retry-after": "1"} if status in COME_BACK else {}
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    logger.warning("event=refused path=%r status=%d reason=%r", request.url.path[:200], status, told(error))
    return _error(status, told(error))


async def _refuse_route(request: Request, error: Exception) -> Response:
    """No such path, or another method."""
    assert isinstance(error, HTTPException)
    logger.warning("event=refused path=%r status=%d", request.url.path[:200], error.status_code)
    answer = _error(error.status_code, f"{error.detail}: {request.method} {request.url.path[:200]}")
    answer.headers.update(error.headers or {})  # with 405 the methods that are allowed
    return answer


async def _fail(request: Request, error: Exception) -> Response:
    """Anything else is a defect of the server; the log has the details, the client none."""
    logger.error("event=failed path=%r error=%s", request.url.path[:200], type(error).__name__)
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal server error")
