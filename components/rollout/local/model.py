"""The model that this machine serves, for the `slipway` command."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slipway.components.clients.credentials import api_key
from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import bundles, manual_control
from slipway.components.rollout.local import access, service
from slipway.components.rollout.local import state as local_state
from slipway.components.rollout.local.client import RestClient
from slipway.components.rollout.local.service import Service
from slipway.components.rollout.local.state import Server
from slipway.components.rollout.local.target import DRIVER_STATE, LocalTarget
from slipway.components.rollout.rollout_progress import RolloutProgress, read_progress
from slipway.components.rollout.served_model import ProxyStatus, RevisionStatus, ServedModel, Status
from slipway.components.rollout.target import Revision

LOOK_S = 2.0
"""Time limit of a server's readiness response, in seconds."""


@dataclass(frozen=True)
class LocalModel(ServedModel):
    """The service in a folder.

    Args:
        folder: folder of the service, with its state.
        tracking_uri: address of the registry; only methods that move traffic need it.
    """

    folder: Path
    tracking_uri: str = ""

    def client(self, grpc: bool = False) -> Client | GrpcClient:
        """A client of the public endpoint, with the API key of the environment, else with the service's own key."""
        local_service = Service(self.folder)
        current = local_service.state
        if not local_service.envoy_alive():
            raise SlipwayError(f"the service in {self.folder} does not run; `slipway start` serves again")
        headers = {} if api_key() else access.headers(local_service.folder, current.auth)
        if grpc:
            return GrpcClient(f"{current.host}:{current.grpc_port}", model=current.model_name, headers=headers)
        return Client(f"http://{current.host}:{current.http_port}", model=current.model_name, headers=headers)

    def running(self) -> bool:
        """Whether the public endpoint is up."""
        return local_state.load(self.folder) is not None and Service(self.folder).envoy_alive()

    def status(self) -> Status:
        """What is served."""
        current = local_state.load(self.folder)
        if current is None:
            message = "nothing is served yet; `slipway run` serves a first model"
            return Status(served=False, healthy=False, message=message)
        local_service = Service(self.folder)
        champion = _server(current.champion, 100 - current.percent, current.model_name)
        challenger = _server(current.challenger, current.percent, current.model_name)
        running = local_service.envoy_alive()
        pid = current.envoy.pid if current.envoy else None
        proxy = ProxyStatus(pid=pid, running=running, ready=local_service.envoy.ready() and running)
        problems = _problems(champion, challenger, proxy)
        rollout = self._rollout(problems)
        return Status(
            served=current.champion is not None,
            healthy=not problems,
            message="; ".join(problems) or f"version {champion.version if champion else '?'} serves",
            model_name=current.model_name,
            endpoint={
                "rest": f"http://{current.host}:{current.http_port}",
                "grpc": f"{current.host}:{current.grpc_port}",
            },
            proxy=proxy,
            champion=champion,
            challenger=challenger,
            rollout=rollout,
            held_by=service.holder(self.folder),
        )

    def start(self) -> None:
        """Start proxy and champion again after `stop` or a restart of the machine.

        A challenger is not started again; `slipway rollout` continues its rollout.

        Raises:
            BadInput: nothing was ever served, or another process listens on a public port.
            SlipwayError: the champion does not start.
        """
        with service.locked(self.folder):
            local_service = Service(self.folder)
            if local_service.state.champion is None:
                raise BadInput("no version serves yet; `slipway run` serves a first model")
            with RestClient(
                local_service.state.model_name, access.headers(local_service.folder, local_service.state.auth)
            ) as client:
                local_service.retire()
                local_service.ensure_running(client, manual_control.READY_TIMEOUT_S)

    def stop(self) -> bool:
        """Stop all processes of the service; return whether there were any.

        Raises:
            SlipwayError: a rollout is in progress.
        """
        if local_state.load(self.folder) is None:
            return False
        with service.locked(self.folder):
            return Service(self.folder).stop()

    @contextlib.contextmanager
    def held(self) -> Iterator[tuple[LocalTarget, Registry]]:
        """The target and the registry, locked for this process."""
        current = Service(self.folder).state
        registry = Registry(self.tracking_uri, current.model_name)
        ports = current.http_port, current.grpc_port
        public_key = Path(current.public_key)
        # `slipway promote` must also work when the champion does not answer, since it is a remedy for that.
        target = LocalTarget(self.folder, current.model_name, public_key, *ports, current.auth, needs_champion=False)
        with contextlib.closing(target), target.lock():
            yield target, registry

    def revision_of(self, version: Version) -> Revision:
        """A registered version as a revision; its bundle is fetched into the service's folder."""
        bundle = bundles.fetch(version.bundle_uri, version.digest, self.folder)
        return Revision(version.version, str(bundle), version.digest)

    def _rollout(self, problems: list[str]) -> RolloutProgress | None:
        """The progress of a rollout that goes on or is held; a state that cannot be read is one of the problems."""
        path = self.folder / DRIVER_STATE
        try:
            return read_progress(json.loads(path.read_text("utf-8")), problems)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            problems.append(f"{path} cannot be read ({error}); `slipway rollback` ends that rollout")
            return None


def _server(server: Server | None, percent: int, model_name: str) -> RevisionStatus | None:
    if server is None:
        return None
    running = server.alive()
    with Client(f"http://127.0.0.1:{server.http_port}", model=model_name, key="", timeout_s=LOOK_S) as client:
        ready = running and client.ready()
    return RevisionStatus(
        version=server.revision.version,
        digest=server.revision.digest,
        percent=percent,
        pid=server.daemon.pid if server.daemon else None,
        running=running,
        ready=ready,
    )


def _problems(champion: RevisionStatus | None, challenger: RevisionStatus | None, proxy: ProxyStatus) -> list[str]:
    statuses = {"proxy": proxy, "champion": champion, "challenger": challenger}
    if not any(status and status.running for status in statuses.values()):
        return ["stopped; `slipway start` serves again"]
    problems = []
    for name, status in statuses.items():
        if status is None:
            problems += ["no version serves yet"] if name == "champion" else []
        elif not status.running:
            remedy = "`slipway rollout` goes on" if name == "challenger" else "`slipway start` starts it again"
            problems.append(f"the {name} does not run ({remedy})")
        elif not status.ready:
            problems.append(f"the {name} does not answer")
    return problems
