"""The gRPC server: V2, health and reflection on a given address, with a status for every kind of error."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc
from kserve.protocol.grpc.interceptors import ExceptionToStatusInterceptor
from kserve.protocol.grpc.server import GRPCServer

from slipway.components.errors import BadInput
from slipway.serving.access import Access
from slipway.serving.access.byte_budget import Budget
from slipway.serving.access.tls import Certificates, grpc_credentials
from slipway.serving.errors import Forbidden, InferenceFailed, Malformed, Overloaded, client_message
from slipway.serving.grpc_api.access import AccessInterceptor, RefusalInterceptor
from slipway.serving.grpc_api.arrivals import Arrivals
from slipway.serving.grpc_api.connections import Connections
from slipway.serving.grpc_api.health import SERVICE_NAME, Health
from slipway.serving.grpc_api.servicer import SERVICE, VersionedServicer
from slipway.serving.limits import Limits
from slipway.serving.protocol.dataplane import BundleDataPlane
from slipway.serving.telemetry.middleware import ObservingInterceptor
from slipway.serving.telemetry.request_record import Recorder

logger = logging.getLogger("serving")
CONNECTION_IDLE_MS = 300_000
"""Time after which a connection without a call is closed. Clients open another one when they need it."""
CALLS_PER_CONNECTION = 1000
HARD_LIMIT = 4
"""gRPC itself accepts connections up to this multiple of the limit. Above the limit, `Connections` makes room."""
UNREAD_BYTES = 16 * 1024
"""Bytes of a message that gRPC buffers before the message is read; the smallest value that gRPC accepts."""
LEAVE_S = 0.2
"""Time between the first refusal by a stopping server and its end. gRPC cancels calls that arrive while it ends. A
client that gets UNAVAILABLE before can retry elsewhere, and sends no more calls."""
CODES: dict[type[Exception], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    Malformed: grpc.StatusCode.INVALID_ARGUMENT,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    ModelNotFound: grpc.StatusCode.NOT_FOUND,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    InferenceFailed: grpc.StatusCode.INTERNAL,
    NotImplementedError: grpc.StatusCode.UNIMPLEMENTED,
    ModelNotReady: grpc.StatusCode.UNAVAILABLE,
}


class GrpcServer(GRPCServer):  # type: ignore[misc]  # kserve is not typed
    """Serves a data plane on one address.

    Args:
        dataplane: answers the requests.
        repository: loads, unloads and lists the model.
        host: address to bind to.
        port: port to bind to.
        limits: bounds on requests, connections and times.
        recorder: is called for every request except probes.
        access: the access checks.
        budget: bytes for the messages of all requests, shared with REST.
        certificates: for TLS; None for no TLS.

    Raises:
        BadInput: the certificates cannot be used.
    """

    def __init__(
        self,
        dataplane: BundleDataPlane,
        repository: Any,
        host: str,
        port: int,
        limits: Limits,
        recorder: Recorder,
        access: Access,
        budget: Budget,
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__(port, dataplane, repository, kwargs={})
        self._host = host
        self._limits = limits
        self._interceptor = ErrorInterceptor()
        self._connections = Connections(port, limits.connections)
        self._interceptors = (
            AccessInterceptor(access, Arrivals(budget, limits), self._connections),
            ObservingInterceptor(recorder),
            RefusalInterceptor(),
            self._interceptor,
        )
        self._credentials = grpc_credentials(certificates) if certificates else None
        self._health = Health(dataplane.ready, (SERVICE,))

    def bind(self) -> None:
        """Bind the address; needs the running event loop. Calls are not answered before `start`.

        Raises:
            BadInput: the port is in use, or the host is not an address of this machine.
        """
        options = [
            ("grpc.max_receive_message_length", self._limits.body),
            ("grpc.so_reuseport", 0),  # on by default, so that a second server would silently share the port
            ("grpc.server_handshake_timeout_ms", round(1000 * self._limits.header_seconds)),
            ("grpc.max_concurrent_streams", CALLS_PER_CONNECTION),
            ("grpc.max_allowed_incoming_connections", HARD_LIMIT * self._limits.connections),
            ("grpc.http2.lookahead_bytes", UNREAD_BYTES),
            ("grpc.http2.bdp_probe", 0),  # it would raise the lookahead of connections with much traffic
            ("grpc.max_connection_idle_ms", CONNECTION_IDLE_MS),
            ("grpc.keepalive_time_ms", 60_000),  # detects clients that vanished without closing
            ("grpc.keepalive_timeout_ms", round(1000 * self._limits.send_seconds)),
        ]
        self._server = grpc.aio.server(ThreadPoolExecutor(1), interceptors=self._interceptors, options=options)
        servicer = VersionedServicer(self._data_plane, self._model_repository_extension)
        grpc_predict_v2_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, SERVICE_NAME, reflection.SERVICE_NAME), self._server)
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            if self._credentials:
                self._server.add_secure_port(f"{host}:{self._port}", self._credentials)
            else:
                self._server.add_insecure_port(f"{host}:{self._port}")
        except RuntimeError as error:
            raise BadInput(f"port {self._port} is in use or {self._host} is no address of this machine") from error

    async def start(self, max_workers: int = 1) -> None:  # noqa: ARG002  # kserve's signature
        """Start to accept requests; returns at once."""
        await self._server.start()
        self._connections.watch()

    async def drain(self, grace: float) -> None:
        """Accept no more requests, and wait up to `grace` seconds for those at hand."""
        self._interceptor.closing = self._health.closing = True
        await asyncio.sleep(LEAVE_S)
        await self._server.stop(grace)

    async def end(self) -> None:
        """Close the port at once, in whatever state the server is."""
        self._connections.end()
        if self._server:
            await self._server.stop(0)


class ErrorInterceptor(ExceptionToStatusInterceptor):  # type: ignore[misc]
    """Maps errors to status codes. kserve's own interceptor leaves some of them as UNKNOWN."""

    closing = False
    """Set when the server stops, so that new calls are refused."""

    async def intercept(
        self, method: Any, request_or_iterator: Any, context: grpc.aio.ServicerContext, method_name: str
    ) -> Any:
        """Handle a call, unless the server is closing."""
        if self.closing:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        return await super().intercept(method, request_or_iterator, context, method_name)

    async def handle_exception(
        self,
        ex: Exception,
        request_or_iterator: Any,  # noqa: ARG002  # the base class's signature
        context: grpc.aio.ServicerContext,
        method_name: str,
    ) -> NoReturn:
        """End the call with the error's status."""
        if isinstance(ex, grpc.aio.AbortError):  # the method has ended the call itself, as the health service does
            raise ex
        for kind, code in CODES.items():
            if isinstance(ex, kind):
                logger.warning(
                    "event=refused method=%s status=%s reason=%r", method_name, code.name, client_message(ex)
                )
                await context.abort(code, client_message(ex))
        logger.error("event=failed method=%s error=%s", method_name, type(ex).__name__, exc_info=ex)
        await context.abort(grpc.StatusCode.INTERNAL, "internal server error")
        raise ex
