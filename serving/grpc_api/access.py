"""The access checks of gRPC: before a message is read, and around the answer.

Two interceptors, because a call is checked before its message is read but refused where all outcomes are seen:
`Reception` is the outermost; `Checked` stands inside of what records calls, and outside of what maps errors.
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
from slipway.serving.errors import Forbidden, NotCheckable, Overloaded, TooLarge, TooSlow, Unauthenticated, told
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
_refusal: ContextVar[Exception | None] = ContextVar("refusal", default=None)
"""What `Reception` found wrong with the call at hand."""


class Reception(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is not typed
    """Reads the message of a call only when the caller may call, within its quota, and as far as there is memory.

    Args:
        access: decides.
        arrivals: reads.
        connections: is told of calls by those who may call.
    """

    def __init__(self, access: Access, arrivals: Arrivals, connections: Connections) -> None:
        self._access, self._arrivals, self._connections = access, arrivals, connections

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the handler of a call. One of a single request becomes one of a stream, so that reading is up to us."""
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
                self._conversation(handler, needed), response_serializer=handler.response_serializer
            )
        return None  # nothing here is served with a stream of requests and a single answer

    def _single(self, handler: grpc.RpcMethodHandler, needed: Needed) -> Callable[..., Awaitable[Any]]:
        async def answer(_: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            with ExitStack() as held:
                try:
                    request = await self._request(handler, needed, context, held)
                    _refusal.set(None)
                except tuple(REFUSALS) as error:
                    request = handler.request_deserializer(b"")
                    _refusal.set(error.with_traceback(None))  # whose frames have the message
                try:
                    return await handler.unary_unary(request, context)
                except grpc.aio.AbortError as error:
                    # gRPC keeps the error with the call, and the error's frames the call with its message: a circle
                    # that lasts until the garbage is collected, which may be a thousand calls later.
                    del request
                    error.__context__ = error.__cause__ = None
                    error.__traceback__ = None
                    raise

        return answer

    def _stream(self, handler: grpc.RpcMethodHandler, needed: Needed) -> Callable[..., AsyncIterator[Any]]:
        async def answers(_: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            with ExitStack() as held:
                try:
                    request = await self._request(handler, needed, context, held)
                except tuple(REFUSALS) as error:
                    await abort(context, error)
                async for answer in handler.unary_stream(request, context):
                    yield answer

        return answers

    def _conversation(self, handler: grpc.RpcMethodHandler, needed: Needed) -> Callable[..., AsyncIterator[Any]]:
        async def answers(_: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            with ExitStack() as held:
                try:
                    caller = await self._admit(needed, context, held)
                    portion = held.enter_context(self._arrivals.portion(caller))
                    requests = self._arrivals.small_messages(portion, context)
                    async for answer in handler.stream_stream(
                        (handler.request_deserializer(message) async for message in requests), context
                    ):
                        yield answer
                except tuple(REFUSALS) as error:
                    await abort(context, error)

        return answers

    async def _request(
        self,
        handler: grpc.RpcMethodHandler,
        needed: Needed,
        context: grpc.aio.ServicerContext,
        held: ExitStack,
    ) -> Any:
        """The request of a call, decoded; None when there is none. Raises one of `REFUSALS`."""
        caller = await self._admit(needed, context, held)
        if needed is OPEN:
            message = await self._arrivals.open_message(context)
        else:
            message = await self._arrivals.message(held.enter_context(self._arrivals.portion(caller)), context)
        return None if message is None else await off_loop(len(message), handler.request_deserializer, message)

    async def _admit(self, needed: Needed, context: grpc.aio.ServicerContext, held: ExitStack) -> Caller:
        """Who calls; the quota is held from here on, before anything of the message is read."""
        set_caller(ANONYMOUS)
        caller = await self._access.caller(_credentials(context), needed)
        held.enter_context(self._access.admitted(caller))
        if caller is not ANONYMOUS:
            held.enter_context(self._connections.call(context.peer()))
        return caller


class Checked(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses the calls that `Reception` found wrong."""

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the handler of a call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler

        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            if error := _refusal.get():
                await abort(context, error)
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)


async def abort(context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
    """End a call with a refusal."""
    code = next(code for kind, code in REFUSALS.items() if isinstance(error, kind))
    logger.warning("event=denied status=%s reason=%r", code.name, told(error))
    metadata: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Overloaded):
        wait = error.retry_after_s
        # The second is what gRPC's own retries heed (gRFC A6).
        metadata = (("retry-after", str(math.ceil(wait))), ("grpc-retry-pushback-ms", str(math.ceil(wait * 1000))))
    await context.abort(code, told(error), metadata)
    raise error


def _credentials(context: grpc.aio.ServicerContext) -> Credentials:
    """Of a call. Raises Unauthenticated when there are several of a kind."""
    found: dict[str, str] = {}
    for name, value in context.invocation_metadata() or ():
        if name in ("authorization", API_KEY):
            if name in found:
                raise Unauthenticated(f"the metadata {name} is there twice", given=True)
            found[name] = str(value).strip()
    return Credentials(found.get("authorization"), found.get(API_KEY), call_certificate_name(context.auth_context()))
