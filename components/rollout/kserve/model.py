"""The model that an InferenceService serves, for the `slipway` command and the preflight."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import ClusterSettings, own_namespace
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import manual_control
from slipway.components.rollout.kserve import gateway, readiness
from slipway.components.rollout.kserve.endpoint import client_of
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.rollout_progress import read_progress
from slipway.components.rollout.served_model import RevisionStatus, ServedModel, Status
from slipway.components.rollout.target import Revision


def revision_of(version: Version) -> Revision:
    """A registered version as a revision that the cluster can deploy.

    Raises:
        BadInput: its bundle is not in an object store.
    """
    if not version.bundle_uri.startswith("s3://"):
        raise BadInput(
            f"the bundle of version {version.version} is at {version.bundle_uri}; a cluster needs it in a store: "
            "set registry.store to s3://bucket/prefix and register it again"
        )
    return Revision(version.version, version.bundle_uri, version.digest)


@dataclass(frozen=True)
class ClusterModel(ServedModel):
    """An InferenceService and the registry of its versions.

    Args:
        settings: of the cluster.
        registry: of the model. The service has the model's name.
    """

    settings: ClusterSettings
    registry: Registry

    @property
    def name(self) -> str:
        """Name of the model and of the service."""
        return self.registry.model_name

    def client(self, grpc: bool = False) -> Client | GrpcClient:
        """A client of the public endpoint, for the protocol of its gateway."""
        if grpc and self.settings.protocol != "grpc":
            raise BadInput("the cluster's gateway leads to the REST port; leave --grpc out, or see cluster.protocol")
        return client_of(KServeTarget(self.name, self.settings).endpoint(), self.name, self.settings.protocol)

    def status(self) -> Status:
        """What is served. A registry that names another champion is a problem."""
        target = KServeTarget(self.name, self.settings)
        current = target.record()
        service = f"{target.namespace}/{self.name}"
        if current.champion is None and current.challenger is None:
            return Status(served=False, healthy=False, message=f"no InferenceService {service}; a run makes it")
        champion = _revision(target, current.champion, 100 - current.percent)
        challenger = _revision(target, current.challenger, current.percent)
        problems = _problems(champion, challenger, self.registry)
        if current.restoring:
            problems.append(
                "the specification is not back at the champion after a roll back; `slipway status --repair`"
            )
        rollout = read_progress(current.state, problems)
        endpoint = target.endpoint()
        return Status(
            served=champion is not None,
            healthy=not problems,
            message="; ".join(problems) or f"version {champion.version if champion else '?'} serves",
            model_name=self.name,
            service=service,
            mode=target.mode,
            endpoint={"rest": endpoint.base, "host": endpoint.host or urlsplit(endpoint.base).netloc},
            champion=champion,
            challenger=challenger,
            rollout=rollout,
            held_by=target.holder(),
        )

    @contextmanager
    def held(self) -> Iterator[tuple[KServeTarget, Registry]]:
        """The InferenceService and the registry, locked for this process."""
        target = KServeTarget(self.name, self.settings)
        with target.lock():
            yield target, self.registry

    def revision_of(self, version: Version) -> Revision:
        """A registered version, whose bundle must be in an object store."""
        return revision_of(version)

    def repair(self) -> str:
        """As for every served model; also complete a rollback that a killed driver left incomplete."""
        with self.held() as (target, registry):
            target.complete()
            return manual_control.repair(target, registry)


def check_reachable(model_name: str, settings: ClusterSettings) -> None:
    """Check before a run that the gateway responds, so that a rollout can send its requests.

    Before there is a service, this checks the configured gateway, or within a pod the gateway of Standard mode. In
    other cases the address is not known yet (Knative gives it to the service), and nothing is checked.

    Raises:
        BadInput: the gateway does not respond; the message names `cluster.gateway`.
        SlipwayError: a service of this name exists that Slipway did not make.
    """
    target = KServeTarget(model_name, settings)
    target.record()
    if "url" in (target.api.read() or {}).get("status", {}):
        endpoint = target.endpoint()
        gateway.check(endpoint.base, endpoint.host)
    elif settings.gateway:
        gateway.check(settings.gateway.rstrip("/"))
    elif own_namespace() and target.mode == "Standard":
        address = gateway.address(target.api.connection)
        if address is None:
            raise BadInput(
                "no ingress gateway of KServe's Standard mode is known here (no Gateway, or no rights to see it; see "
                "manifests/base/gateway-rights.yaml); set cluster.gateway to its address within the cluster"
            )
        gateway.check(address)


def _revision(target: KServeTarget, revision: Revision | None, percent: int) -> RevisionStatus | None:
    if revision is None:
        return None
    pods = target.api.pods(revision.version)
    answering = readiness.ready(pods)
    return RevisionStatus(
        version=revision.version,
        digest=revision.digest,
        percent=percent,
        pid=f"{len(answering)} of {len(pods)} pods",
        running=bool(pods),
        ready=bool(answering),
        failure=readiness.crash(pods),
    )


def _problems(champion: RevisionStatus | None, challenger: RevisionStatus | None, registry: Registry) -> list[str]:
    problems = []
    for name, status in (("champion", champion), ("challenger", challenger)):
        if status is None:
            problems += ["no version serves yet"] if name == "champion" else []
        elif not status.ready:
            problems.append(f"the {name} does not answer" + (f" ({status.failure})" if status.failure else ""))
    registered = registry.champion()
    if champion and (registered is None or registered.version != champion.version):
        registered_version = f"version {registered.version}" if registered else "no version"
        problems.append(
            f"the registry's champion is {registered_version}, served is version {champion.version}; "
            "`slipway status --repair`"
        )
    return problems
