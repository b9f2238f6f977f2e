"""The access checks of gRPC: before a message is read, and around the answer.

Two interceptors, because a call is checked before its message is read but refused where all outcomes are seen:
`Reception` is the outermost; `Checked` stands inside of what records calls, and outside of what maps errors.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, NoReturn

import grpc

from serving.access import API_KEY, Access, Credentials
from serving.access.rules import Needed, method_needs
from serving.caller import ANONYMOUS, Caller, set_caller
from serving.errors import Forbidden, NotCheckable, Overloaded, TooSlow, Unauthenticated
from serving.tls import call_certificate_name

logger = logging.getLogger("serving")
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler | None]]
REFUSALS: dict[type[Exception], grpc.StatusCode] = {
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotCheckable: grpc.StatusCode.UNAVAILABLE,
    TooSlow: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_decision: ContextVar[Caller | Exception] = ContextVar("decision")
"""What `Reception` found out about the call at hand."""


class Reception(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc is not typed
    """Reads the message of a call only when the caller may call, and only for so long.

    Args:
        access: decides.
        seconds: that a message may take to arrive.
    """

    def __init__(self, access: Access, seconds: float) -> None:
        self._access, self._seconds = access, seconds

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
                self._single(handler, needed), handler.request_deserializer, handler.response_serializer
            )
        if handler.unary_stream:
            method = self._stream(handler.unary_stream, needed)
            return grpc.unary_stream_rpc_method_handler(
                method, handler.request_deserializer, handler.response_serializer
            )
        if handler.stream_stream:
            method = self._stream(handler.stream_stream, needed)
            return grpc.stream_stream_rpc_method_handler(
                method, handler.request_deserializer, handler.response_serializer
            )
        return None  # nothing here is served with a stream of requests and a single answer

    def _single(self, handler: grpc.RpcMethodHandler, needed: Needed) -> Callable[..., Awaitable[Any]]:
        async def answer(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            request = None
            decision = await self._decide(context, needed)
            if isinstance(decision, Caller):
                try:
                    async with asyncio.timeout(self._seconds):
                        request = await anext(aiter(requests), None)
                except TimeoutError:
                    decision = TooSlow(f"the message did not arrive within {self._seconds:g} s")
            _decision.set(decision)
            if not isinstance(decision, Caller):
                request = handler.request_deserializer(b"")
            return await handler.unary_unary(request, context)

        return answer

    def _stream(self, method: Callable[..., Any], needed: Needed) -> Callable[..., AsyncIterator[Any]]:
        async def answers(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            decision = await self._decide(context, needed)
            if isinstance(decision, Exception):
                await abort(context, decision)
            try:
                with self._access.admitted(decision):
                    async for answer in method(request, context):
                        yield answer
            except Overloaded as error:
                await abort(context, error)

        return answers

    async def _decide(self, context: grpc.aio.ServicerContext, needed: Needed) -> Caller | Exception:
        set_caller(ANONYMOUS)
        try:
            caller = await self._access.caller(_credentials(context), needed)
        except tuple(REFUSALS) as error:
            return error
        set_caller(caller)
        return caller


class Checked(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses the calls that `Reception` found wrong, and holds the quota of the others."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        """Wrap the handler of a call."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler.unary_unary:
            return handler

        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            decision = _decision.get()
            if isinstance(decision, Exception):
                await abort(context, decision)
            with ExitStack() as held:
                try:
                    held.enter_context(self._access.admitted(decision))
                except Overloaded as error:
                    await abort(context, error)
                return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)


async def abort(context: grpc.aio.ServicerContext, error: Exception) -> NoReturn:
    """End a call with a refusal."""
    code = next(code for kind, code in REFUSALS.items() if isinstance(error, kind))
    logger.warning("event=denied status=%s reason=%r", code.name, str(error))
    metadata: tuple[tuple[str, str], ...] = ()
    if isinstance(error, Overloaded):
        wait = error.retry_after_s
        # The second is what gRPC's own retries heed (gRFC A6).
        metadata = (("retry-after", str(math.ceil(wait))), ("grpc-retry-pushback-ms", str(math.ceil(wait * 1000))))
    await context.abort(code, str(error), metadata)
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
