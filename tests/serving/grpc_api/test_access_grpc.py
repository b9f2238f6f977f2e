"""The access checks of gRPC: which calls reach a service, as whom, and what a refused client is told."""

import asyncio
import gc
import sys
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import (
    reflection_pb2,
    reflection_pb2_grpc,
)
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages

from slipway.serving.access.caller import ANONYMOUS, Caller, Means, set_caller
from slipway.serving.errors import Forbidden, NotCheckable, Overloaded, OverQuota, TooLarge, TooSlow, Unauthenticated
from slipway.serving.grpc_api import access
from slipway.serving.grpc_api.access import RefusalInterceptor
from slipway.serving.grpc_api.arrivals import OPEN_BYTES
from slipway.serving.grpc_api.servicer import SERVICE
from slipway.serving.limits import Limits
from tests.serving.grpc_api.served import Seen, Served

OTHER = Caller("other", means=Means.KEY)
INFER = f"/{SERVICE}/ModelInfer"


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A server on this machine."""
    return Served(tmp_path)


def test_an_accepted_call_has_its_message_and_holds_its_place_and_bytes_until_it_is_answered(served: Served) -> None:
    assert served.ask(served.infer) == "messages"
    (seen,) = served.seen
    assert (seen.method, seen.caller.name) == ("ModelInfer", "shop")
    assert seen.at_hand == {(Means.KEY, "shop"): 1}
    assert seen.bytes_held == messages.ModelInferRequest(model_name="messages").ByteSize()
    assert seen.calls == 1
    assert served.idle()
    assert served.outcomes.codes == [("infer", 200)]


def test_a_call_is_not_taken_for_the_one_whose_task_started_its_own(served: Served) -> None:
    """A task inherits the context of the task that started it."""

    async def ask() -> tuple[str, bool]:
        set_caller(OTHER)
        access._refusal.set(Forbidden("that was another call"))
        async with served.channel() as channel:
            return await served.infer(channel), await served.model_ready(channel)

    assert asyncio.run(ask()) == ("messages", True)
    assert [seen.caller.name for seen in served.seen] == ["shop", "anonymous"]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "this needs an API key or a token: 'Authorization: Bearer …'"),
        ((("authorization", "Bearer wrong"),), "the API key is unknown or was revoked"),
        ((("x-api-key", "a"), ("x-api-key", "a")), "the metadata x-api-key is there twice"),
    ],
)
def test_without_good_credentials_a_call_reaches_no_service_and_is_recorded(
    served: Served, metadata: Any, reason: str
) -> None:
    code, message, _ = served.refusal(lambda channel: served.infer(channel, metadata=metadata))
    assert (code, message) == (grpc.StatusCode.UNAUTHENTICATED, reason)
    assert served.seen == []
    assert served.outcomes.codes == [("infer", 401)]
    assert served.idle()


def test_without_the_scope_a_call_reaches_no_service_and_is_recorded(served: Served) -> None:
    code, message, _ = served.refusal(served.load)
    assert (code, message) == (grpc.StatusCode.PERMISSION_DENIED, "'shop' lacks the scope for this: admin")
    assert served.seen == []
    assert served.outcomes.codes == [("load", 403)]


def test_more_than_its_quota_is_refused_with_the_time_to_wait(tmp_path: Path) -> None:
    served = Served(tmp_path, Limits(rate=0.5, burst=1))
    assert served.ask(served.infer) == "messages"
    code, message, metadata = served.refusal(served.infer)
    assert (code, message) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "'shop' may send 0.5 texts a second")
    assert metadata["retry-after"] == "2"
    assert metadata["grpc-retry-pushback-ms"] == "2000"
    assert len(served.seen) == 1
    assert served.idle()


def test_a_call_for_which_there_is_no_memory_is_refused_before_its_message_is_read(tmp_path: Path) -> None:
    """One identity may have half of the bytes, and a message may have all that one message may."""
    served = Served(tmp_path, Limits(body=2**20, bytes_at_hand=2**20, body_seconds=0.05))
    code, message, _ = served.refusal(served.infer)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert message == "the messages of too many calls are in memory; try again later"
    assert served.ask(served.model_ready)
    assert [seen.method for seen in served.seen] == ["ModelReady"]
    assert served.idle()


def test_what_is_open_is_answered_without_a_caller_and_takes_nothing(tmp_path: Path) -> None:
    served = Served(tmp_path, Limits(rate=0.5, burst=1))

    async def ask(channel: Any) -> list[bool]:
        return [await served.model_ready(channel, name) for name in ("messages", "other", "messages")]

    assert served.ask(ask) == [True, False, True]
    assert served.seen == [Seen("ModelReady", ANONYMOUS, {}, 0, 0)] * 3  # its connection is the first to make room


def test_a_message_that_no_open_method_needs_is_refused(served: Served) -> None:
    long = "x" * OPEN_BYTES
    for ask in (partial(served.model_ready, name=long), partial(served.watch, service=long)):
        code, message, _ = served.refusal(ask)
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert message.endswith(f"this method takes {OPEN_BYTES}")
    assert served.seen == []


def test_a_stream_of_responses_comes_one_by_one(served: Served) -> None:
    assert served.ask(served.watch).status == health_pb2.HealthCheckResponse.SERVING
    assert served.ask(lambda channel: served.watch(channel, "none")).status == (
        health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    )


def test_a_stream_in_both_directions_needs_a_caller_and_holds_its_place_until_it_ends(tmp_path: Path) -> None:
    served = Served(tmp_path, Limits(concurrency=1, body=2**20, bytes_at_hand=2**22))
    assert served.ask(lambda channel: served.names(channel, served.metadata, 3)) == [[SERVICE]] * 3
    code, _, _ = served.refusal(served.names)
    assert code is grpc.StatusCode.UNAUTHENTICATED

    async def held(channel: Any) -> dict[Any, int]:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(metadata=served.metadata)
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await call.read()
        assert served.budget._used == served.limits.body  # gRPC may buffer a message of the largest size
        with pytest.raises(grpc.aio.AioRpcError, match="1 texts of 'shop' are at hand; 1 may be"):
            await served.infer(channel)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        return dict(served.quotas._at_hand)

    assert served.ask(held) == {}
    assert served.idle()


def test_a_call_without_a_message_is_refused(served: Served) -> None:
    async def ask(channel: Any) -> Any:
        return await channel.stream_unary(INFER)(iter(()), metadata=served.metadata)

    code, message, _ = served.refusal(ask)
    assert (code, message) == (grpc.StatusCode.INVALID_ARGUMENT, "the call has no message")
    assert served.seen == []
    assert served.idle()


@pytest.mark.parametrize("method", [f"/{SERVICE}/ModelTrain", "/tests.Upload/Upload"])
def test_what_no_service_has_is_not_implemented(served: Served, method: str) -> None:
    """A stream of requests with one response is not: nothing here has one, and nothing would check it."""

    async def ask(channel: Any) -> Any:
        return await channel.stream_unary(method)(iter([b"x"]), metadata=served.metadata)

    assert served.refusal(ask)[0] is grpc.StatusCode.UNIMPLEMENTED


def test_a_call_that_nobody_has_checked_is_not_answered() -> None:
    """As in a server that lacks the interceptor that checks."""

    async def answer(*_: Any) -> None:
        raise AssertionError("it was let in")

    async def handlers(_: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(answer)

    async def ask() -> None:
        handler = await RefusalInterceptor().intercept_service(handlers, None)
        assert handler is not None
        await handler.unary_unary(b"", None)

    with pytest.raises(LookupError):
        asyncio.run(ask())


def test_the_message_of_a_call_that_ends_with_an_error_is_freed_at_once(served: Served) -> None:
    """Not at a garbage collection, which may come a thousand calls later."""

    async def holders(channel: Any) -> tuple[int, int]:
        with pytest.raises(grpc.aio.AioRpcError, match="it is bad"):
            await served.infer(channel, "bad")
        while not served.idle():
            await asyncio.sleep(0)
        new = [messages.ModelInferRequest()]
        return sys.getrefcount(served.bad[0]), sys.getrefcount(new[0])

    gc.disable()
    try:
        of_the_message, of_one_in_a_list = served.ask(holders)
    finally:
        gc.enable()
    assert of_the_message == of_one_in_a_list


@pytest.mark.parametrize(
    ("error", "code", "metadata"),
    [
        (Unauthenticated("no", given=True), grpc.StatusCode.UNAUTHENTICATED, {}),
        (Forbidden("no", "predict"), grpc.StatusCode.PERMISSION_DENIED, {}),
        (TooLarge("no"), grpc.StatusCode.RESOURCE_EXHAUSTED, {}),
        (NotCheckable("no"), grpc.StatusCode.UNAVAILABLE, {}),
        (TooSlow("no"), grpc.StatusCode.DEADLINE_EXCEEDED, {}),
        (
            Overloaded("no"),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            {"retry-after": "1", "grpc-retry-pushback-ms": "1000"},
        ),
        (
            OverQuota("no", 1.25),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            {"retry-after": "2", "grpc-retry-pushback-ms": "1250"},
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_refusal_has_its_status_and_says_when_to_come_back_where_it_passes(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: grpc.StatusCode,
    metadata: dict[str, str],
) -> None:
    async def refuse(*_: object) -> Caller:
        raise error

    monkeypatch.setattr(served.access, "caller", refuse)
    found, message, told = served.refusal(served.infer)
    assert (found, message) == (code, "no")
    assert told == metadata
