"""What each step of a run is asked, from the settings of the run.

Only what differs from a default is handed on: it travels through every pod's driver, and it is the key of the cache,
to which the defaults come with the version of the code.
"""

import hashlib
from typing import Any, NamedTuple

from slipway.components.artifacts.encoder import encoder_identity
from slipway.components.artifacts.encoder import pinned as pinned_encoder
from slipway.components.platforms.cluster_settings import ClusterSettings, own_namespace
from slipway.components.platforms.container_image import SIGNING_JOB
from slipway.components.prepare_data import sources
from slipway.components.select_model import step as select_model
from slipway.components.step_runtime import run_record
from slipway.components.step_runtime.code_version import code_version
from slipway.components.step_runtime.step_request import StepRequest
from slipway.components.step_runtime.step_result import Json
from slipway.pipelines.cluster_settings import encoders, with_encoders
from slipway.pipelines.settings import SlipwaySettings

OF_SERVERS = (
    "deployment_mode",
    "runtime",
    "protocol",
    "server_account",
    "min_replicas",
    "max_replicas",
    "gateway",
    "prometheus",
)
"""Settings of the cluster of which a training knows nothing, so that a change of them trains nothing again."""


class Requests(NamedTuple):
    """The outputs of the pipeline's first task: a `StepRequest` for each step, the tasks of cross-validation, and of
    what the cache may skip a digest of all that decides on the outcome beside it: code, data, weights.
    """

    prepare: Json
    compare: list[Json]
    train: Json
    compress: Json
    evaluate: Json
    register: Json
    rollout: Json
    data_version: str
    selection_version: str
    training_version: str
    compression_version: str


def requests_of(settings: SlipwaySettings, run: str) -> Requests:
    """The requests of a run.

    Args:
        settings: resolved, for this machine or for pods.
        run: name of the run, for data of which nothing tells that they changed.

    Raises:
        BadInput: the data, or a candidate, cannot be used.
    """
    settings = pinned(settings)
    sections = settings.model_dump(mode="json", exclude_defaults=True)
    record = "" if own_namespace() is None else run_record.uri_of(sections)

    def request(section: str, **surroundings: Any) -> Json:
        return StepRequest(settings=sections.get(section, {}), record=record, **surroundings).plain()

    named = {"model_name": settings.model_name}
    registered = named | {"tracking_uri": settings.tracking_uri}
    place = {"target": settings.target, "tracking_uri": settings.tracking_uri}
    cluster = settings.cluster
    trainers = cluster.model_copy(update={name: ClusterSettings.model_fields[name].default for name in OF_SERVERS})
    in_pods = settings.registry.keys.startswith(SIGNING_JOB)  # there the public key is mounted, at its default place
    signer = {} if in_pods else {"public_key": settings.registry.keys}
    data = sources.version(settings.data)
    weights = [encoder_identity(name) for _, name in encoders(settings)]
    return Requests(
        prepare=request("data"),
        compare=[task.model_dump(mode="json") for task in select_model.plan(settings.select, settings.train, record)],
        train=request("train", select=sections.get("select", {}), cluster=trainers, **place),
        compress=request("compress", **named),
        evaluate=request("evaluate", **registered, **signer),
        register=request("registry", **registered),
        rollout=request("rollout", cluster=cluster, **signer, **named, **place),
        data_version=_digest(code_version("prepare_data"), run if data is None else data),
        selection_version=code_version("select_model", "train"),
        training_version=_digest(code_version("select_model", "train"), *weights),
        compression_version=code_version("compress", "train", "evaluate"),
    )


def pinned(settings: SlipwaySettings) -> SlipwaySettings:
    """The settings with the commit of now of all that comes from a hub: looked up once, here, so that every step of the
    run loads the same, and the lineage names it.

    Raises:
        BadInput: a dataset or an encoder cannot be used.
    """
    names = {name: pinned_encoder(name) for _, name in encoders(settings)}
    return with_encoders(settings, names).model_copy(update={"data": sources.pinned(settings.data)})


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
