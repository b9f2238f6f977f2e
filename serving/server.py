"""One process that serves one bundle: a KServe ModelServer with addresses of its own and an orderly end."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Callable
from dataclasses import replace

import uvloop
from kserve import ModelServer

from slipway.components.errors import BadInput, SlipwayError
from slipway.serving.access import Access
from slipway.serving.access.byte_budget import Budget
from slipway.serving.access.tls import Certificates
from slipway.serving.audit.audit_log import AuditLog
from slipway.serving.grpc_api.server import GrpcServer
from slipway.serving.limits import Limits
from slipway.serving.model.kserve_model import BundleModel
from slipway.serving.model.repository import BundleRepository, Unloaded
from slipway.serving.protocol.dataplane import BundleDataPlane
from slipway.serving.request_recorder import ExchangeRecorder
from slipway.serving.rest_api.application import RestServer
from slipway.serving.rest_api.listener import descriptors

logger = logging.getLogger("serving")
DESCRIPTORS_SHARE = 4
"""Of what the process may open, the connections of one port may have a quarter; those of gRPC half for a moment."""


class BundleServer(ModelServer):  # type: ignore[misc]  # kserve is not typed
    """Serves V2 and V1 over REST and V2 over gRPC.

    Args:
        host: address that both ports are bound to.
        http: socket of REST, from `slipway.serving.ports.bind`.
        grpc_port: port of gRPC.
        limits: what is accepted.
        access: who may call.
        load: verifies the bundle and loads its model again, when an administrator asks for it.
        certificates: for TLS on both ports.
        drain_seconds: how long a stopping server, no longer ready, goes on answering clients that still come.
        grace_seconds: how long requests at hand may take after that.
        audit: where requests are recorded; closed at the end.
        metrics: socket of the metrics; None where they are on that of REST, for callers with a key.
    """

    def __init__(
        self,
        host: str,
        http: socket.socket,
        grpc_port: int,
        limits: Limits,
        access: Access,
        load: Callable[[], BundleModel],
        certificates: Certificates | None = None,
        drain_seconds: float = 1.0,
        grace_seconds: float = 30.0,
        audit: AuditLog | None = None,
        metrics: socket.socket | None = None,
    ) -> None:
        super().__init__(http_port=http.getsockname()[1], grpc_port=grpc_port, enable_latency_logging=False)
        self.host = host
        self.drain_seconds = drain_seconds
        self.grace_seconds = grace_seconds
        self.dataplane = BundleDataPlane(self.registered_models)
        repository = BundleRepository(self.registered_models, load)
        self._recorder = recorder = ExchangeRecorder(self.registered_models, audit)
        limits = replace(limits, connections=min(limits.connections, descriptors() // DESCRIPTORS_SHARE))
        budget = Budget(limits.bytes_at_hand)
        self._rest_server = RestServer(
            self.dataplane, repository, http, limits, recorder, access, budget, certificates, metrics
        )
        self._rest_server.config.timeout_graceful_shutdown = int(grace_seconds)
        self._grpc_server = GrpcServer(
            self.dataplane, repository, host, grpc_port, limits, recorder, access, budget, certificates
        )

    def run(self, model: BundleModel | Unloaded) -> None:
        """Serve the model, or the reason why there is none, until SIGTERM, SIGINT or SIGQUIT, then drain.

        Raises:
            BadInput: a port is in use.
        """
        self.registered_models.update(model)
        self._recorder.started()
        gc.collect()
        gc.freeze()  # what is here stays: no collection looks at it again while requests wait
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        finally:
            self._recorder.stopped()

    async def _serve(self) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, stopping.set)
        try:
            self._grpc_server.bind()
            await self._grpc_server.start()
            rest = asyncio.create_task(self._rest_server.start())
            waiting = asyncio.create_task(stopping.wait())
            await asyncio.wait({rest, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if rest.done():
                await rest
                raise SlipwayError("the REST server ended by itself; the log above may say why")
            await self._drain(rest)
        except OSError as error:  # another server that was starting too has taken the port
            raise BadInput(f"port {self.http_port} is in use on {self.host}; choose another") from error
        finally:
            await self._grpc_server.end()

    async def _drain(self, rest: asyncio.Task[None]) -> None:
        """Stop in the order that loses no request.

        First only readiness turns false, and every REST answer asks the client to close its connection, so that load
        balancers and clients leave on their own; then no new ones are accepted; what is at hand is finished.
        """
        self.dataplane.draining = True
        logger.info("event=draining seconds=%g", self.drain_seconds)
        await asyncio.sleep(self.drain_seconds)
        self._rest_server.stop()
        await asyncio.gather(self._grpc_server.drain(self.grace_seconds), rest)
        logger.info("event=stopped")
