"""The request of each step, made from the settings of a run.

A request has only the settings that differ from their defaults. It is passed through the driver of every pod, so it
should be small. It is also part of the cache's key; a changed default changes the version of the code there.
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
"""Settings of the cluster that do not affect a training. They are left out of its request, so that a change of them
does not train again.
"""


class Requests(NamedTuple):
    """The outputs of the pipeline's first task.

    They are a `StepRequest` for each step, the tasks of cross-validation, and a version for each step that the cache
    may skip. A version is a digest of what affects the step's result beside its request: code, data and weights.
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
    """Make the requests of a run.

    Args:
        settings: resolved, for this machine or for pods.
        run: name of the run. It is the version of data whose changes cannot be detected.

    Raises:
        BadInput: the data or a candidate cannot be used.
    """
    settings = pinned(settings)
    sections = settings.model_dump(mode="json", exclude_defaults=True)
    record = "" if own_namespace() is None else run_record.uri_of(sections)

    def request(section: str, **fields: Any) -> Json:
        return StepRequest(settings=sections.get(section, {}), record=record, **fields).plain()

    with_name = {"model_name": settings.model_name}
    with_registry = with_name | {"tracking_uri": settings.tracking_uri}
    with_target = {"target": settings.target, "tracking_uri": settings.tracking_uri}
    cluster = settings.cluster
    training_cluster = cluster.model_copy(
        update={name: ClusterSettings.model_fields[name].default for name in OF_SERVERS}
    )
    in_pods = settings.registry.keys.startswith(SIGNING_JOB)
    signer = {} if in_pods else {"public_key": settings.registry.keys}  # pods have it mounted at the default path
    data = sources.version(settings.data)
    weights = [encoder_identity(name) for _, name in encoders(settings)]
    return Requests(
        prepare=request("data", encoder=settings.train.encoder, max_length=settings.train.max_length),
        compare=[task.model_dump(mode="json") for task in select_model.plan(settings.select, settings.train, record)],
        train=request("train", select=sections.get("select", {}), cluster=training_cluster, **with_target),
        compress=request("compress", **with_name),
        evaluate=request("evaluate", **with_registry, **signer),
        register=request("registry", **with_registry),
        rollout=request(
            "rollout", cluster=cluster, floor=settings.evaluate.min_macro_f1, **signer, **with_name, **with_target
        ),
        data_version=_digest(code_version("prepare_data"), run if data is None else data),
        selection_version=code_version("select_model", "train"),
        training_version=_digest(code_version("select_model", "train"), *weights),
        compression_version=code_version("compress", "train", "evaluate"),
    )


def pinned(settings: SlipwaySettings) -> SlipwaySettings:
    """The settings with a fixed commit for each dataset and encoder of a hub.

    The commits are looked up once, here. So every step of the run loads the same files, and the lineage names them.

    Raises:
        BadInput: a dataset or an encoder cannot be used.
    """
    names = {name: pinned_encoder(name) for _, name in encoders(settings)}
    return with_encoders(settings, names).model_copy(update={"data": sources.pinned(settings.data)})


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
