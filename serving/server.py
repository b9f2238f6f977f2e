"""The process that serves one bundle: a KServe ModelServer on given addresses, which drains before it stops."""

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
"""The connections of one port may use a quarter of the files that the process may open. The port of gRPC may use more
for a moment: see `HARD_LIMIT` in `slipway.serving.grpc_api.server`."""


class BundleServer(ModelServer):  # type: ignore[misc]  # kserve is not typed
    """Serves V2 and V1 over REST and V2 over gRPC.

    Args:
        host: address that both ports are bound to.
        http: bound socket for REST, from `slipway.serving.ports.bind`.
        grpc_port: port of gRPC.
        limits: bounds on requests, connections and times.
        access: the access checks.
        load: verifies the bundle and loads its model again, when a client with the scope `admin` asks for it.
        certificates: for TLS on both ports; None for no TLS.
        drain_seconds: how long a stopping server is not ready but still accepts requests.
        grace_seconds: how long the requests at hand may take after that.
        audit: the audit log; None for none. The server closes it at the end.
        metrics: bound socket for the metrics; None to serve them on the socket of REST, to callers with credentials.
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
        """Serve the model until SIGTERM, SIGINT or SIGQUIT, then drain. An `Unloaded` answers with its reason.

        Raises:
            BadInput: a port is in use.
        """
        self.registered_models.update(model)
        self._recorder.started()
        gc.collect()
        gc.freeze()  # the objects made so far live to the end, so no collection has to scan them while requests wait
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        finally:
            self._recorder.stopped()

    async def _serve(self) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(signal_number, stopping.set)
        try:
            self._grpc_server.bind()
            await self._grpc_server.start()
            rest = asyncio.create_task(self._rest_server.start())
            stop_signal = asyncio.create_task(stopping.wait())
            await asyncio.wait({rest, stop_signal}, return_when=asyncio.FIRST_COMPLETED)
            if rest.done():
                await rest
                raise SlipwayError("the REST server ended by itself; the log above may say why")
            await self._drain(rest)
        except OSError as error:  # another server took the port while this one was starting
            raise BadInput(f"port {self.http_port} is in use on {self.host}; choose another") from error
        finally:
            await self._grpc_server.end()

    async def _drain(self, rest: asyncio.Task[None]) -> None:
        """Stop in the order that loses no request.

        First readiness turns false, and every REST response asks the client to close its connection. Load balancers
        and clients then leave by themselves. After `drain_seconds` the ports close, and the requests at hand finish.
        """
        self.dataplane.draining = True
        logger.info("event=draining seconds=%g", self.drain_seconds)
        await asyncio.sleep(self.drain_seconds)
        self._rest_server.stop()
        await asyncio.gather(self._grpc_server.drain(self.grace_seconds), rest)
        logger.info("event=stopped")
