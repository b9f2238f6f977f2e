"""What each step of a run is asked, from the settings of the run.

Only what differs from a default is handed on: it travels through every pod's driver, and it is the key of the cache,
to which the defaults come with the version of the code.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from components import run_record
from components.cluster import ClusterSettings, own_namespace
from components.code import code_version
from components.encoder import encoder_identity
from components.prepare_data import sources
from components.select_model import step as select_model
from components.target import Place
from pipelines.for_cluster import encoders
from pipelines.settings import SlipwaySettings

OF_SERVERS = {
    "deployment_mode",
    "runtime",
    "protocol",
    "server_account",
    "min_replicas",
    "max_replicas",
    "gateway",
    "prometheus",
}
"""Settings of the cluster of which a training knows nothing, so that a change of them trains nothing again."""


class Requests(NamedTuple):
    """The outputs of the pipeline's first task."""

    data: dict[str, Any]
    select: dict[str, Any]
    train: dict[str, Any]
    compress: dict[str, Any]
    evaluate: dict[str, Any]
    registry: dict[str, Any]
    rollout: dict[str, Any]
    """The sections of the settings."""
    folds: list[dict[str, Any]]
    """The trainings of cross-validation."""
    training_place: dict[str, Any]
    serving_place: dict[str, Any]
    """See `components.target.Place`."""
    tracking_uri: str
    record: str
    """URI below which pods keep the records of runs."""
    data_version: str
    select_version: str
    train_version: str
    compress_version: str
    """Digests of what decides on a step's outcome beside its settings: code, data, weights."""


def requests_of(settings: SlipwaySettings, run: str) -> Requests:
    """The requests of a run.

    Args:
        settings: resolved, for this machine or for pods.
        run: name of the run, for data of which nothing tells that they changed.

    Raises:
        BadInput: the data, or a candidate, cannot be used.
    """
    sections = settings.model_dump(mode="json", exclude_defaults=True)
    names = ("data", "select", "train", "compress", "evaluate", "registry", "rollout")
    data = sources.version(settings.data)
    identities = [encoder_identity(encoder) for _, encoder in encoders(settings)]
    place = {
        "target": settings.target,
        "tracking_uri": settings.tracking_uri,
        "public_key": str(Path(settings.registry.keys) / "public.pem"),
    }
    return Requests(
        *(sections.get(name, {}) for name in names),
        folds=select_model.plan(settings.select, settings.train),
        training_place=_place(place, settings.cluster, without=OF_SERVERS),
        serving_place=_place(place, settings.cluster),
        tracking_uri=settings.tracking_uri,
        record="" if own_namespace() is None else run_record.uri_of(sections),
        data_version=_digest(code_version("prepare_data"), run if data is None else data),
        select_version=code_version("select_model", "train"),
        train_version=_digest(code_version("select_model", "train"), *identities),
        compress_version=code_version("compress", "train", "evaluate"),
    )


def _place(values: dict[str, Any], cluster: ClusterSettings, without: set[str] | None = None) -> dict[str, Any]:
    place = Place(**values, cluster=cluster).model_dump(mode="json", exclude_defaults=True)
    own = {name: value for name, value in place.get("cluster", {}).items() if name not in (without or ())}
    return place | {"cluster": own}


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
