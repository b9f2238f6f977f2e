"""The REST side: kserve's endpoints, with errors in the form of the V2 specification and a limit on bodies.

`POST /v2/models/{name}/infer` has a handler of its own in front of kserve's: it takes the raw body, so a request
without Content-Type works, and it validates and encodes once.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import Any

import fastapi
import orjson
import uvicorn
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
from kserve.protocol.rest.server import RESTServer
from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
from kserve.protocol.rest.v2_endpoints import register_v2_endpoints
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.dataplane import BundleDataPlane, v2_request
from serving.errors import Forbidden, InferenceFailed, Malformed, Overloaded, TooLarge
from serving.exchange import Recorder
from serving.limits import Limits
from serving.metrics import page
from serving.observing import Observed

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
    """Serves a data plane on a socket that is bound already."""

    def __init__(
        self,
        dataplane: BundleDataPlane,
        repository: Any,
        listener: socket.socket,
        limits: Limits,
        recorder: Recorder,
    ) -> None:
        port = listener.getsockname()[1]
        super().__init__("kserve.model_server:app", dataplane, repository, port)
        self.config.access_log = False
        self.listener = listener
        self.limits = limits
        self.recorder = recorder
        self._server = _Server(self.config)

    async def start(self) -> None:
        """Serve until `stop`."""
        self.create_application()
        await self._server.serve(sockets=[self.listener])

    def stop(self) -> None:
        """Take no more connections; `start` returns when the requests at hand are answered."""
        self._server.should_exit = True

    @property
    def started(self) -> bool:
        """Whether connections are accepted."""
        return self._server.started

    def _register_endpoints(self, app: fastapi.FastAPI) -> None:
        app.add_route("/v2/models/{model_name}/infer", self._infer, methods=["POST"], include_in_schema=False)
        app.add_api_route("/", self.dataplane.live)
        app.add_route("/metrics", self._metrics, methods=["GET"])
        register_v1_endpoints(app, self.dataplane, self.model_repository_extension)
        register_v2_endpoints(app, self.dataplane, self.model_repository_extension)

    async def _infer(self, request: Request) -> Response:
        """V2 inference."""
        name = request.path_params["model_name"]
        if not await self.dataplane.model_ready(name, True):
            raise ModelNotReady(name)
        headers = dict(request.headers)
        payload = v2_request(await request.body(), headers.get(INFERENCE_CONTENT_LENGTH_HEADER), name)
        response, _ = await self.dataplane.infer(name, payload, headers)
        content, json_length = response.to_rest()
        if json_length is None:
            return Response(orjson.dumps(content), media_type="application/json")
        binary = {INFERENCE_CONTENT_LENGTH_HEADER: str(json_length)}
        return Response(content, media_type="application/octet-stream", headers=binary)

    async def _metrics(self, request: Request) -> Response:
        """What Prometheus scrapes."""
        self.recorder.ready(await self.dataplane.ready())
        content, content_type = page(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    def _add_exception_handlers(self, app: fastapi.FastAPI) -> None:
        for kind in STATUS:
            app.add_exception_handler(kind, _refuse)
        app.add_exception_handler(RequestValidationError, _refuse_schema)
        app.add_exception_handler(HTTPException, _refuse_route)
        app.add_exception_handler(Exception, _fail)

    def _add_middlewares(self, app: fastapi.FastAPI) -> None:
        app.add_middleware(Guard, dataplane=self.dataplane, body_limit=self.limits.body)
        app.add_middleware(Observed, recorder=self.recorder)  # last, so that it is outermost and sees every answer


class _Server(uvicorn.Server):
    """Leaves the signals to the model server, which drains REST and gRPC together."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("event=listening http_port=%d", self.config.port)


class Guard:
    """Ends requests with too large a body early, and keep-alive connections when the server drains."""

    def __init__(self, app: ASGIApp, dataplane: BundleDataPlane, body_limit: int) -> None:
        self.app = app
        self.dataplane = dataplane
        self.body_limit = body_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_closing(message: Message) -> None:
            if self.dataplane.draining and message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
            await send(message)

        try:
            body = b"".join([part async for part in self._body(scope, receive)])
        except TooLarge as error:
            response = _error(STATUS[TooLarge], str(error))
            response.headers["connection"] = "close"
            await response(scope, receive, send_closing)
            return
        except ConnectionError:
            return
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive_body() -> Message:
            return next(messages, None) or await receive()

        await self._unless_gone(self.app(scope, receive_body, send_closing), receive)

    @staticmethod
    async def _unless_gone(answer: Awaitable[None], receive: Receive) -> None:
        """Answer, but stop, and so give up the place in the queue, when the client goes before the answer is there."""
        answering = asyncio.ensure_future(answer)
        leaving = asyncio.ensure_future(receive())  # after the body, only the client's leaving can come
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering

    async def _body(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        received = int(declared) if declared.isdigit() else 0
        if received > self.body_limit:
            raise TooLarge(f"the body has {received} bytes; at most {self.body_limit} are accepted")
        received = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            part = message.get("body", b"")
            received += len(part)
            if received > self.body_limit:
                raise TooLarge(f"the body has more than the {self.body_limit} bytes that are accepted")
            more = message.get("more_body", False)
            yield part


def _error(status: int, message: str) -> JSONResponse:
    headers = {"retry-after": "1"} if status in COME_BACK else {}
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _refuse(request: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    logger.warning("event=refused path=%r status=%d reason=%r", request.url.path, status, str(error))
    return _error(status, str(error))


async def _refuse_schema(request: Request, error: Exception) -> Response:
    """FastAPI's own form echoes the request's values."""
    assert isinstance(error, RequestValidationError)
    reasons = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return await _refuse(request, Malformed(reasons))


async def _refuse_route(request: Request, error: Exception) -> Response:
    """No such path, or another method."""
    assert isinstance(error, HTTPException)
    logger.warning("event=refused path=%r status=%d", request.url.path, error.status_code)
    return _error(error.status_code, f"{error.detail}: {request.method} {request.url.path}")


async def _fail(request: Request, error: Exception) -> Response:
    """Anything else is a defect of the server; the log has the details, the client none."""
    logger.error("event=failed path=%r error=%s", request.url.path, type(error).__name__)
    return _error(HTTPStatus.INTERNAL_SERVER_ERROR, "internal server error")
