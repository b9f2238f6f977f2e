"""Entry point of the step `rollout`."""

import contextlib
from pathlib import Path
from typing import Any

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.platforms import identifiers
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.execution_target import resolve
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout import bundles
from slipway.components.rollout.aliases import RegistryAliases
from slipway.components.rollout.driver import Driver
from slipway.components.rollout.local.target import LocalTarget
from slipway.components.rollout.probes import Probes, probes_of
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Revision


def run(
    version: str,
    bundle_uri: str,
    digest: str,
    dataset: Path,
    settings: RolloutSettings,
    tracking_uri: str,
    model_name: str,
    service: Path,
    public_key: Path,
    target_name: str = "local",
    cluster: ClusterSettings | None = None,
) -> dict[str, Any]:
    """Roll a registered version out; go on where a killed rollout of it was.

    Args:
        version: the registry's version.
        bundle_uri: where its bundle is stored.
        digest: of the bundle, as registered.
        dataset: folder of a dataset whose test split is replayed as probes.
        settings: how to roll out.
        tracking_uri: of the registry.
        model_name: under which the model is registered and served.
        service: folder of the service on this machine; its processes go on when the step has ended.
        public_key: PEM of the signer whose bundles are served.
        target_name: `auto`, `local` or `kubernetes`; see `slipway.components.platforms.execution_target`.
        cluster: where and with what model servers run in a cluster.

    Returns:
        The result; see `slipway.components.rollout.results`. With it, `endpoint`: the addresses for REST and gRPC.

    Raises:
        BadInput: dataset, registry, bundle or ports cannot be used.
        SlipwayError: another rollout is going on, or the proxy is gone; to run again goes on.
    """
    for value, form in (
        (version, identifiers.version),
        (bundle_uri, identifiers.bundle_uri),
        (digest, identifiers.digest),
    ):
        form(value, "what the step register handed on")
    probes = probes_of(TextDataset(dataset))
    registry = Registry(tracking_uri, model_name)
    if resolve(target_name) == "kubernetes":
        return _in_cluster(
            Version(version, bundle_uri, digest), probes, settings, registry, cluster or ClusterSettings()
        )
    target = LocalTarget(service, model_name, public_key, settings.http_port, settings.grpc_port, settings.auth)
    with contextlib.closing(target):
        bundle = bundles.fetch(bundle_uri, digest, service)
        driver = Driver(target, RegistryAliases(registry), probes, settings)
        result = driver.run(Revision(version, str(bundle), digest))
        in_use = [found.digest for found in (target.champion(), target.challenger(), registry.previous()) if found]
        bundles.prune(service, set(in_use))
        return result | {"endpoint": target.endpoint()}


def _in_cluster(
    version: Version, probes: Probes, settings: RolloutSettings, registry: Registry, cluster: ClusterSettings
) -> dict[str, Any]:
    """Roll out to an InferenceService."""
    from slipway.components.rollout.kserve.model import revision_of
    from slipway.components.rollout.kserve.target import KServeTarget

    target = KServeTarget(registry.model_name, cluster)
    result = Driver(target, RegistryAliases(registry), probes, settings).run(revision_of(version))
    if target.champion() is None:
        return result | {"endpoint": {}}
    place = target.endpoint()
    return result | {"endpoint": {"rest": place.base, "host": place.host}}
