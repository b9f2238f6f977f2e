"""The manual levers of a model that is served on a cluster: status, promote, roll back, repair, ask."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from components.cluster import ClusterSettings, own_namespace
from components.errors import BadInput
from components.inference import GrpcClient, ModelClient
from components.registry import Registry, Version
from components.rollout import levers, state
from components.rollout.kserve import gateway, readiness
from components.rollout.kserve.endpoint import client_of
from components.rollout.kserve.target import KServeTarget
from components.rollout.target import Revision


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


def client(model_name: str, settings: ClusterSettings) -> ModelClient | GrpcClient:
    """A client of the public endpoint, for the protocol that its gateway leads to.

    Raises:
        BadInput: nothing is served yet.
    """
    return client_of(KServeTarget(model_name, settings).endpoint(), model_name, settings.protocol)


def status(model_name: str, settings: ClusterSettings, registry: Registry) -> dict[str, Any]:
    """What is served, with which share, version and health.

    Returns:
        As `components.rollout.control.status`, with `mode` (Knative or Standard), `service` (namespace/name), pods for
        each revision in place of processes, and no proxy.
    """
    target = KServeTarget(model_name, settings)
    current = target.record()
    place = f"{target.namespace}/{model_name}"
    if current.champion is None and current.challenger is None:
        return {"served": False, "healthy": False, "message": f"no InferenceService {place}; a run makes it"}
    champion = _revision(target, current.champion, 100 - current.percent)
    challenger = _revision(target, current.challenger, current.percent)
    problems = _problems(champion, challenger, registry)
    if current.restoring:
        problems.append("the specification is not back at the champion after a roll back; `slipway status --repair`")
    endpoint = target.endpoint()
    return {
        "served": champion is not None,
        "healthy": not problems,
        "message": "; ".join(problems) or f"version {champion['version'] if champion else '?'} serves",
        "model_name": model_name,
        "service": place,
        "mode": target.mode,
        "endpoint": {"rest": endpoint.base, "host": endpoint.host or urlsplit(endpoint.base).netloc},
        "champion": champion,
        "challenger": challenger,
        "rollout": state.summary(current.state) if current.state else None,
        "held_by": target.holder(),
    }


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


def promote(model_name: str, settings: ClusterSettings, registry: Registry) -> str:
    """Make the challenger the champion now; see `components.rollout.levers`."""
    with _held(model_name, settings) as target:
        return levers.promote(target, registry, revision_of)


def rollback(model_name: str, settings: ClusterSettings, registry: Registry) -> str:
    """Take the challenger out of traffic, or go back to the version before; see `components.rollout.levers`."""
    with _held(model_name, settings) as target:
        return levers.rollback(target, registry, revision_of)


def repair(model_name: str, settings: ClusterSettings, registry: Registry) -> str:
    """Make the registry's aliases say what the InferenceService serves, and complete a roll back that was cut short."""
    with _held(model_name, settings) as target:
        target.complete()
        return levers.repair(target, registry)


@contextmanager
def _held(model_name: str, settings: ClusterSettings) -> Iterator[KServeTarget]:
    target = KServeTarget(model_name, settings)
    with target.lock():
        yield target


def _revision(target: KServeTarget, revision: Revision | None, percent: int) -> dict[str, Any] | None:
    if revision is None:
        return None
    pods = target.api.pods(revision.version)
    answering = readiness.ready(pods)
    return {
        "version": revision.version,
        "digest": revision.digest,
        "percent": percent,
        "pid": f"{len(answering)} of {len(pods)} pods",
        "running": bool(pods),
        "ready": bool(answering),
        "failure": readiness.crash(pods),
    }


def _problems(champion: dict[str, Any] | None, challenger: dict[str, Any] | None, registry: Registry) -> list[str]:
    problems = []
    for name, part in (("champion", champion), ("challenger", challenger)):
        if part is None:
            problems += ["no version serves yet"] if name == "champion" else []
        elif not part["ready"]:
            problems.append(f"the {name} does not answer" + (f" ({part['failure']})" if part["failure"] else ""))
    registered = registry.champion()
    if champion and (registered is None or registered.version != champion["version"]):
        said = f"version {registered.version}" if registered else "no version"
        problems.append(
            f"the registry's champion is {said}, served is version {champion['version']}; `slipway status --repair`"
        )
    return problems
