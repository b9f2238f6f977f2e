"""Entry point of the step `rollout`: chooses the target and starts the driver."""

import contextlib

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.machine.termination import terminable
from slipway.components.platforms import identifiers
from slipway.components.platforms.execution_target import resolve
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import bundles
from slipway.components.rollout.aliases import RegistryAliases
from slipway.components.rollout.driver import Driver
from slipway.components.rollout.local.target import LocalTarget
from slipway.components.rollout.probes import Probes, probes_of
from slipway.components.rollout.request import RolloutRequest
from slipway.components.rollout.result import Endpoint, RolloutResult
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Revision


def run(request: RolloutRequest) -> RolloutResult:
    """Roll out a registered version, or continue its rollout where a killed driver left it.

    Raises:
        BadInput: dataset, registry, bundle or ports cannot be used.
        SlipwayError: another rollout is in progress, or the proxy is gone. Another run continues.
    """
    # These values become paths, arguments and annotations, so their form is checked before anything else.
    for value, check in (
        (request.version, identifiers.version),
        (request.bundle_uri, identifiers.bundle_uri),
        (request.digest, identifiers.digest),
    ):
        check(value, "what the step register handed on")
    probes = probes_of(TextDataset(request.dataset))
    registry = Registry(request.tracking_uri, request.model_name)
    target_kind, service = resolve(request.target), request.service
    settings = request.settings.on(target_kind)
    if target_kind == "kubernetes":
        version = Version(request.version, request.bundle_uri, request.digest)
        return _in_cluster(version, probes, settings, registry, request)
    ports = settings.http_port, settings.grpc_port
    target = LocalTarget(service, request.model_name, request.public_key, *ports, settings.auth)
    with contextlib.closing(target):
        bundle = bundles.fetch(request.bundle_uri, request.digest, service)
        driver = Driver(target, RegistryAliases(registry), probes, settings, floor=request.floor)
        with terminable():
            result = driver.run(Revision(request.version, str(bundle), request.digest))
        in_service = (target.champion(), target.challenger(), registry.previous())
        in_use = [revision.digest for revision in in_service if revision]
        bundles.prune(service, set(in_use))
        return _reached_at(Endpoint(**target.endpoint()), result)


def _in_cluster(
    version: Version, probes: Probes, settings: RolloutSettings, registry: Registry, request: RolloutRequest
) -> RolloutResult:
    """Roll out to an InferenceService."""
    from slipway.components.rollout.kserve.model import revision_of
    from slipway.components.rollout.kserve.target import KServeTarget

    target = KServeTarget(registry.model_name, request.cluster)
    driver = Driver(target, RegistryAliases(registry), probes, settings, floor=request.floor)
    with terminable():
        result = driver.run(revision_of(version))
    if target.champion() is None:
        return _reached_at(Endpoint(), result)
    public = target.endpoint()
    return _reached_at(Endpoint(rest=public.base, host=public.host), result)


def _reached_at(endpoint: Endpoint, result: RolloutResult) -> RolloutResult:
    return result.model_copy(update={"endpoint": endpoint})
