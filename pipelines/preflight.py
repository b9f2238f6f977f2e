"""Check before any step runs that the run can succeed: encoders, stores, keys, registry, and ports or cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway.components.artifacts.encoder_check import check_encoder
from slipway.components.artifacts.encryption import key_of
from slipway.components.compress import architecture
from slipway.components.machine import home
from slipway.components.platforms import storage
from slipway.components.platforms.cluster_settings import own_namespace
from slipway.components.platforms.execution_target import resolve
from slipway.components.platforms.model_registry import Registry
from slipway.components.prepare_data import sources
from slipway.components.register.signing_job import signer_of
from slipway.components.step_runtime import run_record, step_context
from slipway.components.step_runtime.preflight_result import PreflightResult
from slipway.pipelines.cluster_settings import check_not_local, check_store, encoders, for_pods, with_stores
from slipway.pipelines.local_ports import check_ports
from slipway.pipelines.pipeline_parameters import REST, settings_of
from slipway.pipelines.settings import SlipwaySettings
from slipway.pipelines.step_requests import Requests, requests_of


def run(form: Mapping[str, Any]) -> Requests:
    """The pipeline's first step: check the settings of a run, and return the request of each step.

    Args:
        form: the pipeline's parameters; see `slipway.pipelines.pipeline_parameters`.

    Raises:
        SystemExit: a check failed. The reason is in the log and in the run's record.
    """
    record = run_record.uri_of(form[REST])
    with step_context.running("preflight", {}, "", record=record) as current:
        settings = settings_of(form)
        if own_namespace() is not None:  # in a pod, so all steps of this run are pods
            settings = for_pods(settings)
        check(settings, home.service())
        requests = requests_of(settings, run_record.run_name())
        changed_settings = settings.model_dump(mode="json", exclude_defaults=True)
        current.finish(PreflightResult(model_name=settings.model_name, settings=changed_settings))
    return requests


def check(settings: SlipwaySettings, service: Path) -> None:
    """Check everything that a later step will need.

    When the steps are pods, a private key in a Secret is not checked: only the Job that signs may read it, and that
    Job reports what is wrong with it. For a key in KMS, its public key is requested.

    Args:
        settings: of the run, resolved.
        service: folder of the service that the target `local` runs.

    Raises:
        BadInput: something cannot be used. The message says what, and what to do.
    """
    if own_namespace() is not None:
        check_not_local(settings)
    destination = resolve(settings.target)
    if destination == "kubernetes":
        settings = with_stores(settings)
        check_store(settings)
    if sources.local_path(settings.data.source) is None:
        sources.version(settings.data)
    for encoder in {encoder for _, encoder in encoders(settings)}:
        check_encoder(encoder, settings.train.max_length)
        architecture.check_encoder(encoder, settings.compress)
    storage.check_writable(settings.registry.store)
    signer_of(settings.registry.keys, settings.registry.signing_key)
    if settings.registry.encryption_key:
        key_of(settings.registry.encryption_key).new_data_key("preflight")
    registry = Registry(settings.tracking_uri, settings.model_name)
    registry.champion()
    registry.check_experiment(settings.train.experiment)
    if destination == "kubernetes":
        from slipway.pipelines.cluster_preflight import check_cluster

        if settings.cluster.store != settings.registry.store:
            storage.check_writable(settings.cluster.store)
        check_cluster(settings.cluster, settings.registry, settings.model_name)
    else:
        check_ports(settings.rollout, service)


def summary(settings: SlipwaySettings) -> str:
    """One sentence that lists what was checked, for `slipway check`."""
    data = f"{settings.data.source}: {settings.data.text_column}, {settings.data.label_column}"
    if resolve(settings.target) == "kubernetes":
        destination = f"namespace {settings.cluster.namespace} of the cluster"
    else:
        destination = f"ports {settings.rollout.http_port} and {settings.rollout.grpc_port} of this machine"
    return f"good: data ({data}), encoder {settings.train.encoder}, keys, store, registry, {destination}"
