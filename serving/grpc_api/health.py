"""The gRPC health service (grpc.health.v1) of a model server. Its status is the readiness of the server."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import SERVICE_NAME

__all__ = ["SERVICE_NAME", "Health"]

INTERVAL_S = 0.2
"""Time between two checks of readiness in a call of Watch."""
WATCHERS = 100
"""Most calls of Watch at the same time. Watch needs no key, so anybody can hold such calls open."""


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc is not typed
    """The health service. The server (the empty name) and all services have the same status.

    Args:
        ready: returns whether the server can answer; called at each check.
        services: names of the services.
    """

    def __init__(self, ready: Callable[[], Awaitable[bool]], services: tuple[str, ...]) -> None:
        self._ready = ready
        self._services = ("", *services)
        self._watchers = 0
        self.closing = False
        """Set when the server stops, so that the calls of Watch end."""

    async def Check(self, request: Any, context: grpc.aio.ServicerContext) -> Any:  # noqa: N802  # of the protocol
        """The status of a service now; NOT_FOUND if there is no such service."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service '{request.service[:100]}'")
        return await self._status(request.service)

    async def Watch(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:  # noqa: N802
        """The status of a service, now and whenever it changes, until the server stops."""
        if self._watchers >= WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHERS} watch already; call Check")
        self._watchers += 1
        last = None
        try:
            while not self.closing:
                status = await self._status(request.service)
                if status != last:
                    last = status
                    yield status
                await asyncio.sleep(INTERVAL_S)
        finally:
            self._watchers -= 1

    async def _status(self, service: str) -> Any:
        statuses = health_pb2.HealthCheckResponse
        if service not in self._services:
            return statuses(status=statuses.SERVICE_UNKNOWN)
        return statuses(status=statuses.SERVING if await self._ready() else statuses.NOT_SERVING)
