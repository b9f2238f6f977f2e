"""The access checks of gRPC. They come before the message is read, and the caller's quota is held until the response.

There are two interceptors, since a call is checked before its message is read, but refused where its outcome is
recorded. `AccessInterceptor` is the outermost. Inside of it is the interceptor that records calls, then
`RefusalInterceptor`, then the interceptor that maps errors to statuses.
"""

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, NoReturn

import grpc

from slipway.serving.access import API_KEY, Access, Credentials
from slipway.serving.access.caller import ANONYMOUS, Caller, set_caller
from slipway.serving.access.rules import OPEN, Needed, method_needs
from slipway.serving.access.tls import call_certificate_name
from slipway.serving.errors import (
    Forbidden,
    NotCheckable,
    Overloaded,
    TooLarge,
    TooSlow,
    Unauthenticated,
    client_message,
)
from slipway.serving.grpc_api.arrivals import Arrivals
from slipway.serving.grpc_api.connections import Connections
from slipway.serving.protocol.parsing import off_loop

logger = logging.getLogger("serving")
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]
REFUSALS: dict[type[Exception], grpc.StatusCode] = {
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotCheckable: grpc.StatusCode.UNAVAILABLE,
    TooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_refusal: ContextVar[Exception | None] = ContextVar("refusal")
"""Why `AccessInterceptor` refuses the current call; None if it does not. There is no default, so that a call that it
has not checked is not answered."""


class AccessInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is not typed
    """Reads the message of a call only if the caller may call, within its quota, and if there is memory for it.

    Args:
        access: the access checks.
        arrivals: reads messages.
        connections: counts the calls of accepted callers on each connection.
    """

    def __init__(self, access: Access, arrivals: Arrivals, connections: Connections) -> None:
        self._access, self._arrivals, self._connections = access, arrivals, connections

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the handler of a call.

        A method with a single request becomes one with a stream of requests. gRPC reads a single request by itself,
        before the handler is called, but leaves the reading of a stream to the handler.
        """
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        needed = method_needs(handler_call_details.method)
        if handler.unary_unary:
            return grpc.stream_unary_rpc_method_handler(
                self._single(handler, needed), response_serializer=handler.response_serializer
            )
        if handler.unary_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(handler, needed), response_serializer=handler.response_serializer
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                self._bidirectional(handler, needed), response_serializer=handler.response_serializer
            )
        return None  # no service here has a method with a stream of requests and a single response

    def _single(self, handler: grpc.RpcMethodHandler, needed: Needed) -> Callable[..., Awaitable[Any]]:
        async def respond(_: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            with ExitStack() as held:
                try:
                    request = await self._request(handler, needed, context, held)
                    _refusal.set(None)
                except tuple(REFUSALS) as error:
                    request = handler.request_deserializer(b"")
                    _refusal.set(error.with_traceback(None))  # the frames of a traceback keep the message in memory
                try:
                    return await handler.unary_unary(request, context)
                except grpc.aio.AbortError as error:
                    # The call keeps the error, and the frames of the error's traceback keep the call and its message.
                    # This cycle would stay in memory until a garbage collection, maybe a thousand calls later.
                    error.__context__ = error.__cause__ = None
                    error.__traceback__ = None
                    raise

        return respond

    def _stream(self, handler: grpc.RpcMethodHandler, needed: Needed) -> Callable[..., AsyncIterator[Any]]:
        async def respond(_: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            with ExitStack() as held:
                try:
                    request = await self._request(handler, needed, context, held)
                except tuple(REFUSALS) as error:
                    await abort(context, error)
                async for response in handler.unary_stream(request, context):
                    yield response

        return respond

    def _bidirectional(self, handler: grpc.RpcMethodHandler, needed: Needed) -> Callable[..., AsyncIterator[Any]]:
        async def respond(_: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            with ExitStack() as held:
                try:
                    caller = await self._admit(needed, context, held)
                    portion = held.enter_context(self._arrivals.portion(caller))
                    requests = self._arrivals.small_messages(portion, context)
                    async for response in handler.stream_stream(
                        (handler.request_deserializer(message) async for message in requests), context
                    ):
                        yield response
                except tuple(REFUSALS) as error:
                    await abort(context, error)

        return respond

    async def _request(
        self,
        handler: grpc.RpcMethodHandler,
        needed: Needed,
        context: grpc.aio.ServicerContext,
        held: ExitStack,
    ) -> Any:
        """Read and decode the request of a call; None if the client sent none. Raises one of `REFUSALS`."""
        caller = await self._admit(needed, context, held)
        if needed is OPEN:
            message = await self._arrivals.open_message(context)
        else:
            message = await self._arrivals.message(held.enter_context(self._arrivals.portion(caller)), context)
        return None if message is None else await off_loop(len(message), handler.request_deserializer, message)

    async def _admit(self, needed: Needed, context: grpc.aio.ServicerContext, held: ExitStack) -> Caller:
        """Identify the caller, and hold its quota in `held`, before the message is read. Raises one of `REFUSALS`."""
        set_caller(ANONYMOUS)
        caller = await self._access.caller(_credentials(context), needed)
        held.enter_context(self._access.admitted(caller))
        if caller is not ANONYMOUS:
            held.enter_context(self._connections.call(context.peer()))
        return caller


class RefusalInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses the calls that did not pass `AccessInterceptor`."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the handler of a call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler

        async def respond(request: Any, context: grpc.aio.ServicerContext) -> Any:
            if error := _refusal.get():
                await abort(context, error)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(respond, handler.request_deserializer, handler.response_serializer)


async def abort(context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
    """End a call with the status of an error, which is one of `REFUSALS`."""
    code = next(code for kind, code in REFUSALS.items() if isinstance(error, kind))
    logger.warning("event=denied status=%s reason=%r", code.name, client_message(error))
    metadata: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Overloaded):
        wait = error.retry_after_s
        # gRPC's clients take the time of their retries from the second one (gRFC A6).
        metadata = (("retry-after", str(math.ceil(wait))), ("grpc-retry-pushback-ms", str(math.ceil(wait * 1000))))
    await context.abort(code, client_message(error), metadata)
    raise error


def _credentials(context: grpc.aio.ServicerContext) -> Credentials:
    """The credentials of a call. Raises Unauthenticated if one kind of metadata is there twice."""
    values: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if name in ("authorization", API_KEY):
            if name in values:
                raise Unauthenticated(f"the metadata {name} is there twice", given=True)
            values[name] = str(value).strip()
    return Credentials(values.get("authorization"), values.get(API_KEY), call_certificate_name(context.auth_context()))
