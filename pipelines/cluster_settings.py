"""Settings of a run that uses a cluster: fill in what the user left open, and reject what cannot work."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from slipway.components.clients.credentials import without_credentials
from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import STORE
from slipway.components.platforms.container_image import ENCRYPTION_KEY, SIGNING_JOB
from slipway.pipelines.settings import SlipwaySettings

BUNDLES = "bundles"
"""Where bundles are below `cluster.store`, unless `registry.store` says otherwise."""

FORWARD = "`kubectl port-forward --namespace slipway service/mlflow 5000`"
IN_CLUSTER = "http://mlflow.slipway.svc.cluster.local:5000"
"""The tracking server of `manifests/`, for pods."""


def with_stores(settings: SlipwaySettings) -> SlipwaySettings:
    """The settings with both stores, derived from the one that is given; unchanged when none is given.

    Raises:
        BadInput: a store is not on S3, so pods cannot reach it.
    """
    cluster, registry = settings.cluster, settings.registry
    for name, store in (("cluster.store", cluster.store), ("registry.store", registry.store)):
        if store and not store.startswith("s3://"):
            raise BadInput(f"{name} is {store}: pods reach it only as s3://bucket/prefix")
    shared = (cluster.store or registry.store).rstrip("/")
    if not shared:
        return settings
    return settings.model_copy(
        update={
            "cluster": cluster.model_copy(update={"store": shared}),
            "registry": registry.model_copy(update={"store": registry.store or f"{shared}/{BUNDLES}"}),
        }
    )


def check_store(settings: SlipwaySettings) -> None:
    """Check that the settings have a store.

    Raises:
        BadInput: they have none.
    """
    if not settings.cluster.store:
        raise BadInput("a run on Kubernetes needs a store that pods reach; set cluster.store to s3://bucket/prefix")


def check_not_local(settings: SlipwaySettings) -> None:
    """Check that a run whose steps are pods serves its model in the cluster.

    Raises:
        BadInput: the target is `local`: a model server in a step's pod would end with the pod.
    """
    if settings.target == "local":
        raise BadInput("target is local: a model server in a pod of a step would end with it; set target=kubernetes")


def check_from_here(settings: SlipwaySettings) -> None:
    """Check the settings of a run that this machine drives, with trainings and model servers in the cluster.

    Raises:
        BadInput: there is no store or no tracking server that this machine and pods reach.
    """
    check_store(settings)
    addresses = {"tracking_uri": settings.tracking_uri, "cluster.tracking_uri": settings.cluster.tracking_uri}
    for name, address in addresses.items():
        if address and not address.startswith(("http://", "https://")):
            raise BadInput(
                f"{name} is {without_credentials(address)}: pods log to a tracking server, at http://… or https://…"
            )
    check_tracking(settings)
    if is_of_this_machine(settings.tracking_uri) and not settings.cluster.tracking_uri:
        raise BadInput(
            f"tracking_uri is {without_credentials(settings.tracking_uri)}, which pods cannot reach; set "
            f"cluster.tracking_uri to the server's address in the cluster, such as {IN_CLUSTER}"
        )


def check_tracking(settings: SlipwaySettings) -> None:
    """Check that the settings name the tracking server, which has the registry of what is served in a cluster.

    Raises:
        BadInput: they do not.
    """
    if not settings.tracking_uri:
        raise BadInput(
            f"tracking_uri is empty, and pods cannot use a file of this machine; start {FORWARD}, and set "
            f"tracking_uri=http://127.0.0.1:5000 and cluster.tracking_uri={IN_CLUSTER}"
        )


def for_pods(settings: SlipwaySettings) -> SlipwaySettings:
    """The settings of a run whose steps are pods: nothing in them refers to this machine.

    A Job in the namespace of the cluster's settings signs bundles. The key of encryption is a mounted Secret. What
    the user left open becomes the value that fits `manifests/`. A second call changes nothing.

    Raises:
        BadInput: the target is `local`, or a store is a folder.
    """
    from slipway.components.artifacts.encryption import KMS  # imported here, so that most commands start without it

    check_not_local(settings)
    settings = with_stores(settings)
    if not settings.cluster.store:
        settings = with_stores(
            settings.model_copy(update={"cluster": settings.cluster.model_copy(update={"store": STORE})})
        )
    cluster, registry = settings.cluster, settings.registry
    keys = registry.keys if registry.keys.startswith(SIGNING_JOB) else SIGNING_JOB + cluster.namespace
    encryption_key = registry.encryption_key
    if encryption_key and not encryption_key.startswith(KMS):
        encryption_key = ENCRYPTION_KEY
    addresses = [cluster.tracking_uri, settings.tracking_uri, IN_CLUSTER]
    tracking_uri = next(address for address in addresses if address and not is_of_this_machine(address))
    local_addresses = {"tracking_uri": ""} | {
        name: "" for name in ("gateway", "prometheus") if is_of_this_machine(getattr(cluster, name))
    }
    return settings.model_copy(
        update={
            "target": "kubernetes",
            "tracking_uri": tracking_uri,
            "registry": registry.model_copy(update={"keys": keys, "encryption_key": encryption_key}),
            "cluster": cluster.model_copy(update=local_addresses),
        }
    )


def encoders(settings: SlipwaySettings) -> Iterator[tuple[str, str]]:
    """Yield the encoders that a run may train, each as (name of its setting, encoder)."""
    candidates = settings.select.candidates
    for number, candidate in enumerate(candidates):
        if "encoder" in candidate:
            yield f"select.candidates[{number}].encoder", str(candidate["encoder"])
    if not candidates or any("encoder" not in candidate for candidate in candidates):
        yield "train.encoder", settings.train.encoder


def is_of_this_machine(address: str) -> bool:
    """Whether an address refers to the machine that uses it: a loopback address, or an address without a host."""
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")


def with_encoders(settings: SlipwaySettings, names: Mapping[str, str]) -> SlipwaySettings:
    """The settings with encoders replaced by name.

    Args:
        settings: of the run.
        names: former name to new name; an encoder that is not in it keeps its name.
    """
    candidates: list[dict[str, Any]] = [
        candidate | ({"encoder": names.get(name, name)} if (name := str(candidate.get("encoder", ""))) else {})
        for candidate in settings.select.candidates
    ]
    name = settings.train.encoder
    return settings.model_copy(
        update={
            "select": settings.select.model_copy(update={"candidates": candidates}),
            "train": settings.train.model_copy(update={"encoder": names.get(name, name)}),
        }
    )
