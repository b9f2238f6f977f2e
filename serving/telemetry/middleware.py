"""Records each request and its outcome: an ASGI middleware for REST and an interceptor for gRPC.

Both are outermost. So a response by an access check, a limit or an error handler is recorded like any other, exactly
once and before it is sent. Probes and scrapes are not recorded, since machines send them every few seconds.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from slipway.serving.telemetry.request_record import ABANDONED, COMPARISON, Exchange, Observation, Recorder

SOURCE = "x-slipway-source"
"""Header or metadata in which a rollout marks its own requests by `comparison`. `Exchange.source` decides whether the
mark counts."""
REQUEST_ID = "x-request-id"
MODEL = r"/v[12]/models/[^/:]+(/versions/[^/]+)?"
REST_METHODS = tuple(
    (verb, re.compile(path), method)
    for verb, path, method in (
        ("POST", rf"{MODEL}/infer", "infer"),
        ("POST", rf"{MODEL}:predict", "predict"),
        ("POST", rf"{MODEL}:explain", "explain"),
        ("POST", r"/v2/repository/models/[^/]+/load", "load"),
        ("POST", r"/v2/repository/models/[^/]+/unload", "unload"),
        ("GET", rf"/v2|/v[12]/models|/v2{MODEL.removeprefix('/v[12]')}", "metadata"),
    )
)
PROBES = re.compile(rf"/|/metrics|/v2/health/(live|ready)|{MODEL}/ready|/v1/models/[^/:]+")
SERVICE = "/inference.GRPCInferenceService/"
GRPC_METHODS = {
    f"{SERVICE}ModelInfer": "infer",
    f"{SERVICE}RepositoryModelLoad": "load",
    f"{SERVICE}RepositoryModelUnload": "unload",
    f"{SERVICE}ServerMetadata": "metadata",
    f"{SERVICE}ModelMetadata": "metadata",
}
STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: ABANDONED,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
"""HTTP counterparts, as google/rpc/code.proto (googleapis) maps them."""
TOO_LARGE = STATUS[grpc.StatusCode.RESOURCE_EXHAUSTED]
"""Status of a call whose message gRPC itself refused as too large. Such a call reaches no handler."""
REFUSED_WITHIN_S = 0.5
"""Time within which gRPC cancels such a call."""
UNREADABLE = object()
"""Stands for a message that cannot be decoded."""


class ObservingMiddleware:
    """ASGI middleware that records the requests."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self.app = app
        self.recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        exchange = rest_exchange(scope) if scope["type"] == "http" else None
        if exchange is None:
            await self.app(scope, receive, send)
            return
        observation = Observation(exchange, self.recorder)
        code = ABANDONED  # if the application returns without an answer

        async def receive_observed() -> Message:
            message = await receive()
            exchange.bytes_in += len(message.get("body", b""))
            return message

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                observation.outcome(message["status"], _length(message.get("headers", ())))
            await send(message)

        try:
            await self.app(scope, receive_observed, send_observed)
        except asyncio.CancelledError:
            code = 503  # a stopping server cancels the requests that outlast the grace period
            raise
        except Exception:
            code = 500  # Starlette's outer error middleware sends the response
            raise
        finally:
            observation.close(code)


def rest_exchange(scope: Scope) -> Exchange | None:
    """The record of a new request; None for probes and scrapes."""
    verb, path = scope["method"], scope["path"]
    if verb in ("GET", "HEAD") and PROBES.fullmatch(path):
        return None
    matches = (name for expected, pattern, name in REST_METHODS if verb == expected and pattern.fullmatch(path))
    method = next(matches, "other")
    headers = dict(scope["headers"])
    marked = headers.get(SOURCE.encode(), b"") == COMPARISON.encode()
    request_id = headers.get(REQUEST_ID.encode(), b"").decode("latin-1")
    return Exchange("rest", method, marked, request_id=request_id)


def _length(headers: Any) -> int:
    value = dict(headers).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


class ObservingInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is not typed
    """Records the calls of the inference service; must be the first interceptor."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """Begin the record of a call, and wrap its handler."""
        method = GRPC_METHODS.get(handler_call_details.method)
        if method is None:
            return await continuation(handler_call_details)
        metadata = dict(handler_call_details.invocation_metadata or ())
        request_id = str(metadata.get(REQUEST_ID, ""))
        exchange = Exchange("grpc", method, metadata.get(SOURCE) == COMPARISON, request_id=request_id)
        observation = Observation(exchange, self._recorder)
        call = asyncio.current_task()
        assert call is not None  # gRPC answers each call in a task of its own
        call.add_done_callback(lambda task: observation.close(ABANDONED if task.cancelled() else TOO_LARGE))
        handler = await continuation(handler_call_details)
        if handler is None:
            return None

        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await _answer(handler.unary_unary, request, _ObservedContext(context, observation), observation)

        def decode(message: bytes) -> Any:
            try:
                return handler.request_deserializer(message)
            except DecodeError:
                return UNREADABLE

        return grpc.unary_unary_rpc_method_handler(answer, decode, handler.response_serializer)


async def _answer(method: Any, request: Any, context: "_ObservedContext", observation: Observation) -> Any:
    if request is UNREADABLE:  # gRPC itself would answer UNKNOWN, as if the server were at fault
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the message is not a request of this method")
    if request is None:
        await _no_message(context, observation)
    observation.exchange.bytes_in = request.ByteSize()
    try:
        response = await method(request, context)
    except asyncio.CancelledError:
        observation.outcome(ABANDONED)
        raise
    except Exception:
        observation.outcome(STATUS[grpc.StatusCode.UNKNOWN])  # gRPC's status for an exception that nothing maps
        raise
    observation.outcome(STATUS.get(context.code() or grpc.StatusCode.OK, 500), response.ByteSize())
    return response


async def _no_message(context: "_ObservedContext", observation: Observation) -> None:
    """End a call without a message. If gRPC refused the message as too large, it cancels the call first."""
    try:
        await asyncio.sleep(REFUSED_WITHIN_S)
    except asyncio.CancelledError:
        observation.outcome(TOO_LARGE)
        raise
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")


class _ObservedContext:
    """A call's context that records an abort before the status is sent to the client."""

    def __init__(self, context: grpc.aio.ServicerContext, observation: Observation) -> None:
        self._context = context
        self._observation = observation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        """End the call with a status."""
        self._observation.outcome(STATUS[code])
        await self._context.abort(code, details, trailing_metadata)
