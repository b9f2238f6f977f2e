"""A real server of gRPC with the interceptors of the model server, and services behind it that note who called."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import (
    reflection,
    reflection_pb2,
    reflection_pb2_grpc,
)
from kserve.errors import InvalidInput
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.clients import api_keys
from slipway.serving.access import Access
from slipway.serving.access.byte_budget import Budget
from slipway.serving.access.caller import Caller, current_caller
from slipway.serving.access.keys import ApiKeys
from slipway.serving.access.quotas import Quotas
from slipway.serving.grpc_api.access import AccessInterceptor, RefusalInterceptor
from slipway.serving.grpc_api.arrivals import Arrivals
from slipway.serving.grpc_api.connections import Connections
from slipway.serving.grpc_api.health import Health
from slipway.serving.grpc_api.server import ErrorInterceptor
from slipway.serving.grpc_api.servicer import SERVICE
from slipway.serving.limits import Limits
from slipway.serving.telemetry.middleware import ObservingInterceptor
from slipway.serving.telemetry.request_record import Exchange
from tests.serving.access.test_access_quotas import Clock


@dataclass
class Seen:
    """What a service saw of one call."""

    method: str
    caller: Caller
    at_hand: dict[tuple[str, str], int]
    bytes_held: int
    calls: int
    """Calls of accepted callers on the connection."""


class Inference(services.GRPCInferenceServiceServicer):  # type: ignore[misc]  # kserve is not typed
    """Says which model it was asked for. The model `bad` is bad input."""

    def __init__(self, served: "Served") -> None:
        self._served = served

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  # of the protocol
        self._served.see("ModelInfer", context)
        if request.model_name == "bad":
            self._served.bad.append(request)
            raise InvalidInput("it is bad")
        return messages.ModelInferResponse(model_name=request.model_name)

    async def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._served.see("ModelReady", context)
        return messages.ModelReadyResponse(ready=request.name == "messages")

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        self._served.see("RepositoryModelLoad", context)
        return messages.RepositoryModelLoadResponse()


class Outcomes:
    """Keeps what is recorded of calls."""

    def __init__(self) -> None:
        self.codes: list[tuple[str, int]] = []

    def began(self, exchange: Exchange) -> None:
        pass

    def answered(self, exchange: Exchange) -> None:
        self.codes.append((exchange.method, exchange.code))

    def ended(self, exchange: Exchange) -> None:
        pass

    def ready(self, ready: bool) -> None:
        pass


@dataclass
class Served:
    """A server on this machine."""

    folder: Path
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        file = self.folder / "keys.json"
        key = api_keys.add(file, "shop", [api_keys.Scope.PREDICT])[1]
        self.metadata = (("authorization", f"Bearer {key}"),)
        self.quotas, self.budget = Quotas(self.limits, Clock()), Budget(self.limits.bytes_at_hand)
        self.connections = Connections(0, self.limits.connections)
        self.access = Access(self.quotas, ApiKeys(file))
        self.seen: list[Seen] = []
        self.bad: list[Any] = []
        self.outcomes = Outcomes()

    def see(self, method: str, context: Any) -> None:
        calls = self.connections._calls.get(context.peer())
        at_hand = dict(self.quotas._at_hand)
        self.seen.append(Seen(method, current_caller(), at_hand, self.budget._used, calls.at_hand if calls else 0))

    def idle(self) -> bool:
        """Whether everything that calls have taken was given back."""
        at_hand = sum(calls.at_hand for calls in self.connections._calls.values())
        return not self.quotas._at_hand and not self.budget._used and not at_hand

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[Any]:
        """A connection to the server, which is started for it."""
        interceptors = (
            AccessInterceptor(self.access, Arrivals(self.budget, self.limits), self.connections),
            ObservingInterceptor(self.outcomes),
            RefusalInterceptor(),
            ErrorInterceptor(),
        )
        server = grpc.aio.server(interceptors=interceptors)
        services.add_GRPCInferenceServiceServicer_to_server(Inference(self), server)
        health_pb2_grpc.add_HealthServicer_to_server(Health(_ready, (SERVICE,)), server)
        reflection.enable_server_reflection((SERVICE,), server)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("tests.Upload", {"Upload": UPLOAD})])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield channel
        finally:
            await server.stop(0)

    def ask(self, ask: Callable[[Any], Awaitable[Any]]) -> Any:
        """What a client gets that calls with a connection."""

        async def asked() -> Any:
            async with self.channel() as channel:
                return await asyncio.wait_for(ask(channel), 30)

        return asyncio.run(asked())

    def refusal(self, ask: Callable[[Any], Awaitable[Any]]) -> tuple[grpc.StatusCode, str, dict[str, str]]:
        """Status, message and metadata with which a call is refused."""
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            self.ask(ask)
        error = refused.value
        return error.code(), str(error.details()), dict(error.trailing_metadata())

    async def infer(self, channel: Any, model: str = "messages", metadata: Any = None) -> str:
        """The name of the model that answered."""
        request = messages.ModelInferRequest(model_name=model)
        stub = services.GRPCInferenceServiceStub(channel)
        answer = await stub.ModelInfer(request, metadata=self.metadata if metadata is None else metadata)
        return str(answer.model_name)

    async def load(self, channel: Any) -> Any:
        stub = services.GRPCInferenceServiceStub(channel)
        return await stub.RepositoryModelLoad(messages.RepositoryModelLoadRequest(), metadata=self.metadata)

    async def model_ready(self, channel: Any, name: str = "messages") -> bool:
        stub = services.GRPCInferenceServiceStub(channel)
        return bool((await stub.ModelReady(messages.ModelReadyRequest(name=name))).ready)

    async def watch(self, channel: Any, service: str = SERVICE) -> Any:
        """The first status of a service."""
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service))
        async for status in call:
            call.cancel()
            return status
        raise AssertionError("no status came")

    async def names(self, channel: Any, metadata: Any = (), number: int = 1) -> list[list[str]]:
        """The names of the services, asked so many times in one call."""
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([question] * number), metadata=metadata
        )
        return [[service.name for service in answer.list_services_response.service] async for answer in call]


async def _ready() -> bool:
    return True


async def _upload(*_: Any) -> bytes:
    raise AssertionError("it was let in")


UPLOAD = grpc.stream_unary_rpc_method_handler(_upload)
