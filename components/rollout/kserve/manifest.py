"""Builds the fields of an InferenceService that a rollout owns, from the record of the rollout.

Knative mode    `spec.predictor` is the challenger during a rollout, with `canaryTrafficPercent`; the champion is the
                last revision that was rolled out.
Standard mode   `spec.predictor` is the champion, `spec.canary[0]` the challenger (KServe 0.21 splits the traffic).
"""

from collections.abc import Mapping
from typing import Any, Literal

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve import sizes
from slipway.components.rollout.kserve.record import PREFIX, Record, annotations, twins
from slipway.components.rollout.target import Revision

GROUP, VERSION, PLURAL = "serving.kserve.io", "v1beta1", "inferenceservices"
MODE = "serving.kserve.io/deploymentMode"
VERSION_LABEL = PREFIX + "version"
DIGEST = PREFIX + "digest"
GRACE_S = 45
"""Seconds that a model server has to end: `--drain_seconds`, and up to 30 s for requests in flight."""
Mode = Literal["Knative", "Standard"]
Runtimes = Mapping[str, dict[str, str]]
"""By version, the fields of `model` that select the runtime of a revision."""


def service(
    name: str, namespace: str, record: Record, mode: Mode, settings: ClusterSettings, deployed: Runtimes | None = None
) -> dict[str, Any]:
    """The fields of an InferenceService that agree with a record.

    Args:
        name: of the service, and of the model in the paths of requests.
        namespace: of the service.
        record: the revisions; at least a champion or a challenger.
        mode: of the deployment.
        settings: which runtime, how many replicas.
        deployed: runtimes of existing revisions in Standard mode. These keep their runtime, since a change of it would
            replace their pods without a rollout.
    """
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {"app.kubernetes.io/part-of": "slipway"},
        "annotations": annotations(record) | {MODE: mode},
    }
    spec = _knative(record, settings) if mode == "Knative" else _standard(record, settings, deployed or {})
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "InferenceService", "metadata": metadata, "spec": spec}


def _knative(record: Record, settings: ClusterSettings) -> dict[str, Any]:
    newest = record.challenger or record.champion
    assert newest
    predictor = _predictor(newest, settings) | _replicas(sizes.of_champion(settings))
    if record.champion and (record.challenger or record.restoring):
        predictor["canaryTrafficPercent"] = record.percent
    return {"predictor": predictor}


def _standard(record: Record, settings: ClusterSettings, deployed: Runtimes) -> dict[str, Any]:
    stable = record.champion or record.challenger
    assert stable
    canary_pods = record.replicas if record.champion and record.challenger else 0
    replicas = _replicas(sizes.of_champion(settings, canary_pods))
    spec: dict[str, Any] = {"predictor": _predictor(stable, settings, deployed) | replicas | _own(stable)}
    if record.champion and record.challenger:
        canary = _predictor(record.challenger, settings, deployed) | {"minReplicas": record.replicas}
        spec["canary"] = [{"trafficPercent": record.percent, "predictor": canary | _own(record.challenger)}]
    return spec


def _own(revision: Revision) -> dict[str, Any]:
    """Fields of a revision's predictor in Standard mode only.

    Knative names its revisions itself, and gives their pods minutes to end.
    """
    return {"name": f"v{revision.version}", "terminationGracePeriodSeconds": GRACE_S}


def predictors(service: dict[str, Any]) -> list[dict[str, Any]]:
    """The predictors of an InferenceService's revisions; in Standard mode the champion's, then the challenger's."""
    return [service["spec"]["predictor"], *(canary["predictor"] for canary in service["spec"].get("canary") or [])]


def runtimes(service: dict[str, Any] | None) -> Runtimes:
    """The runtimes of an InferenceService's revisions."""
    by_version = {}
    for predictor in predictors(service) if service else []:
        version, model = predictor.get("labels", {}).get(VERSION_LABEL), predictor.get("model", {})
        if version and "runtime" in model:
            by_version[version] = {key: model[key] for key in ("runtime", "protocolVersion") if key in model}
    return by_version


def backend(service: str, revision: Revision) -> str:
    """Name of the Kubernetes Service that KServe makes for a revision in Standard mode; HTTPRoutes use it."""
    return backend_of(service, _own(revision))


def backend_of(service: str, predictor: dict[str, Any]) -> str:
    """Name of the Kubernetes Service of one of `predictors`."""
    return f"{service}-{predictor['name']}-predictor"


def _replicas(replicas: sizes.Replicas) -> dict[str, Any]:
    return {"minReplicas": replicas.minimum, "maxReplicas": replicas.maximum}


def _predictor(revision: Revision, settings: ClusterSettings, deployed: Runtimes | None = None) -> dict[str, Any]:
    runtime = {
        "runtime": settings.serving_runtime,
        "protocolVersion": "v2" if settings.protocol == "rest" else "grpc-v2",
    }
    existing = (deployed or {}).get(revision.version, {})
    if existing.get("protocolVersion") == runtime["protocolVersion"]:  # clients speak one protocol to both revisions
        runtime = existing
    return {
        "serviceAccountName": settings.server_account,
        "labels": {VERSION_LABEL: revision.version},
        "annotations": twins() | {DIGEST: revision.digest},
        "model": {
            "modelFormat": {"name": "slipway-bundle"},
            **runtime,
            "storageUri": revision.bundle,
            "args": [f"--model_version={revision.version}", f"--model_digest={revision.digest}"],
        },
    }
