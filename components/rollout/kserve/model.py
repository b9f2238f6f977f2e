"""The model that an InferenceService serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import ClusterSettings, own_namespace
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import manual_control, state
from slipway.components.rollout.kserve import gateway, readiness
from slipway.components.rollout.kserve.endpoint import client_of
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.served_model import RevisionStatus, ServedModel, Status
from slipway.components.rollout.target import Revision


def revision_of(version: Version) -> Revision:
    """A registered version as the cluster deploys it.

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
        registry: of the model whose name the service has.
    """

    settings: ClusterSettings
    registry: Registry

    @property
    def name(self) -> str:
        """Of the model and of the service."""
        return self.registry.model_name

    def client(self, grpc: bool = False) -> Client | GrpcClient:
        """A client of the public endpoint, for the protocol that its gateway leads to."""
        if grpc and self.settings.protocol != "grpc":
            raise BadInput("the cluster's gateway leads to the REST port; leave --grpc out, or see cluster.protocol")
        return client_of(KServeTarget(self.name, self.settings).endpoint(), self.name, self.settings.protocol)

    def status(self) -> Status:
        """What is served; a registry that says otherwise is a problem."""
        target = KServeTarget(self.name, self.settings)
        current = target.record()
        place = f"{target.namespace}/{self.name}"
        if current.champion is None and current.challenger is None:
            return Status(served=False, healthy=False, message=f"no InferenceService {place}; a run makes it")
        champion = _revision(target, current.champion, 100 - current.percent)
        challenger = _revision(target, current.challenger, current.percent)
        problems = _problems(champion, challenger, self.registry)
        if current.restoring:
            problems.append(
                "the specification is not back at the champion after a roll back; `slipway status --repair`"
            )
        endpoint = target.endpoint()
        return Status(
            served=champion is not None,
            healthy=not problems,
            message="; ".join(problems) or f"version {champion.version if champion else '?'} serves",
            model_name=self.name,
            service=place,
            mode=target.mode,
            endpoint={"rest": endpoint.base, "host": endpoint.host or urlsplit(endpoint.base).netloc},
            champion=champion,
            challenger=challenger,
            rollout=state.summary(current.state) if current.state else None,
            held_by=target.holder(),
        )

    @contextmanager
    def held(self) -> Iterator[tuple[KServeTarget, Registry]]:
        """The InferenceService and the registry, held for this process."""
        target = KServeTarget(self.name, self.settings)
        with target.lock():
            yield target, self.registry

    def revision_of(self, version: Version) -> Revision:
        """A registered version, whose bundle must be in an object store."""
        return revision_of(version)

    def repair(self) -> str:
        """As for every served model; and complete a roll back that was cut short."""
        with self.held() as (target, registry):
            target.complete()
            return manual_control.repair(target, registry)


def check_reachable(model_name: str, settings: ClusterSettings) -> None:
    """See before a run that a request of the rollout would be answered through the gateway.

    Before the service is there, the configured gateway is asked, or in a pod the one that Standard mode has; what its
    address will be is not known else (Knative names one in the cluster with the service).

    Raises:
        BadInput: no answer would come; the message names `cluster.gateway`.
        SlipwayError: a service of this name is there, and it is not ours.
    """
    target = KServeTarget(model_name, settings)
    target.record()
    if "url" in (target.api.read() or {}).get("status", {}):
        place = target.endpoint()
        gateway.check(place.base, place.host)
    elif settings.gateway:
        gateway.check(settings.gateway.rstrip("/"))
    elif own_namespace() and target.mode == "Standard":
        found = gateway.address(target.api.connection)
        if found is None:
            raise BadInput(
                "no ingress gateway of KServe's Standard mode is known here (no Gateway, or no rights to see it; see "
                "manifests/base/gateway-rights.yaml); set cluster.gateway to its address within the cluster"
            )
        gateway.check(found)


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
    for name, part in (("champion", champion), ("challenger", challenger)):
        if part is None:
            problems += ["no version serves yet"] if name == "champion" else []
        elif not part.ready:
            problems.append(f"the {name} does not answer" + (f" ({part.failure})" if part.failure else ""))
    registered = registry.champion()
    if champion and (registered is None or registered.version != champion.version):
        said = f"version {registered.version}" if registered else "no version"
        problems.append(
            f"the registry's champion is {said}, served is version {champion.version}; `slipway status --repair`"
        )
    return problems
