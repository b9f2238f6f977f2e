"""The model that this machine serves."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.components.clients.credentials import api_key
from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import bundles, manual_control, state
from slipway.components.rollout.local import access, service
from slipway.components.rollout.local import state as local_state
from slipway.components.rollout.local.client import RestClient
from slipway.components.rollout.local.service import Service
from slipway.components.rollout.local.state import Server
from slipway.components.rollout.local.target import DRIVER_STATE, LocalTarget
from slipway.components.rollout.served_model import ProxyStatus, RevisionStatus, ServedModel, Status
from slipway.components.rollout.target import Revision

LOOK_S = 2.0
"""How long a server may take to say whether it is ready."""


@dataclass(frozen=True)
class LocalModel(ServedModel):
    """The service in a folder.

    Args:
        folder: with the state of the service.
        tracking_uri: of the registry; only what moves traffic needs it.
    """

    folder: Path
    tracking_uri: str = ""

    def client(self, grpc: bool = False) -> Client | GrpcClient:
        """A client of the public endpoint, with the key of the environment, else with that of the service itself."""
        whole = Service(self.folder)
        here = whole.state
        if not whole.envoy_alive():
            raise SlipwayError(f"the service in {self.folder} does not run; `slipway start` serves again")
        headers = {} if api_key() else access.headers(whole.folder, here.auth)
        if grpc:
            return GrpcClient(f"{here.host}:{here.grpc_port}", model=here.model_name, headers=headers)
        return Client(f"http://{here.host}:{here.http_port}", model=here.model_name, headers=headers)

    def running(self) -> bool:
        """Whether the public endpoint is up."""
        return local_state.load(self.folder) is not None and Service(self.folder).envoy_alive()

    def status(self) -> Status:
        """What is served."""
        here = local_state.load(self.folder)
        if here is None:
            message = "nothing is served yet; `slipway run` serves a first model"
            return Status(served=False, healthy=False, message=message)
        whole = Service(self.folder)
        champion = _server(here.champion, 100 - here.percent, here.model_name)
        challenger = _server(here.challenger, here.percent, here.model_name)
        running = whole.envoy_alive()
        pid = here.envoy.pid if here.envoy else None
        proxy = ProxyStatus(pid=pid, running=running, ready=whole.envoy.ready() and running)
        problems = _problems(champion, challenger, proxy)
        return Status(
            served=here.champion is not None,
            healthy=not problems,
            message="; ".join(problems) or f"version {champion.version if champion else '?'} serves",
            model_name=here.model_name,
            endpoint={"rest": f"http://{here.host}:{here.http_port}", "grpc": f"{here.host}:{here.grpc_port}"},
            proxy=proxy,
            champion=champion,
            challenger=challenger,
            rollout=self._rollout(),
            held_by=service.holder(self.folder),
        )

    def start(self) -> None:
        """Bring proxy and champion back after `stop` or a restart of the machine.

        A challenger is not started again: `slipway rollout` goes on with its rollout.

        Raises:
            BadInput: nothing was ever served, or somebody else has a port.
            SlipwayError: the champion does not start.
        """
        with service.locked(self.folder):
            whole = Service(self.folder)
            if whole.state.champion is None:
                raise BadInput("no version serves yet; `slipway run` serves a first model")
            with RestClient(whole.state.model_name, access.headers(whole.folder, whole.state.auth)) as asking:
                whole.retire()
                whole.ensure_running(asking, manual_control.READY_TIMEOUT_S)

    def stop(self) -> bool:
        """End all processes of the service; returns whether there were any.

        Raises:
            SlipwayError: a rollout is going on.
        """
        if local_state.load(self.folder) is None:
            return False
        with service.locked(self.folder):
            return Service(self.folder).stop()

    @contextlib.contextmanager
    def held(self) -> Iterator[tuple[LocalTarget, Registry]]:
        """The target and the registry, held for this process."""
        here = Service(self.folder).state
        registry = Registry(self.tracking_uri, here.model_name)
        place = (self.folder, here.model_name, Path(here.public_key), here.http_port, here.grpc_port, here.auth)
        target = LocalTarget(*place, needs_champion=False)
        with contextlib.closing(target), target.lock():
            yield target, registry

    def revision_of(self, version: Version) -> Revision:
        """A registered version, whose bundle is fetched."""
        bundle = bundles.fetch(version.bundle_uri, version.digest, self.folder)
        return Revision(version.version, str(bundle), version.digest)

    def _rollout(self) -> dict[str, Any] | None:
        """Where the rollout stands that goes on or is held."""
        try:
            return state.summary(json.loads((self.folder / DRIVER_STATE).read_text("utf-8")))
        except (OSError, ValueError, BadInput):
            return None


def _server(server: Server | None, percent: int, model_name: str) -> RevisionStatus | None:
    if server is None:
        return None
    running = server.alive()
    with Client(f"http://127.0.0.1:{server.http_port}", model=model_name, key="", timeout_s=LOOK_S) as asking:
        ready = running and asking.ready()
    return RevisionStatus(
        version=server.revision.version,
        digest=server.revision.digest,
        percent=percent,
        pid=server.daemon.pid if server.daemon else None,
        running=running,
        ready=ready,
    )


def _problems(champion: RevisionStatus | None, challenger: RevisionStatus | None, proxy: ProxyStatus) -> list[str]:
    parts = {"proxy": proxy, "champion": champion, "challenger": challenger}
    if not any(part and part.running for part in parts.values()):
        return ["stopped; `slipway start` serves again"]
    problems = []
    for name, part in parts.items():
        if part is None:
            problems += ["no version serves yet"] if name == "champion" else []
        elif not part.running:
            remedy = "`slipway rollout` goes on" if name == "challenger" else "`slipway start` starts it again"
            problems.append(f"the {name} does not run ({remedy})")
        elif not part.ready:
            problems.append(f"the {name} does not answer")
    return problems
