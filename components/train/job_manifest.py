"""The manifest of the PyTorchJob of a training."""

import os
import re
from typing import Any

from slipway.components.clients.credentials import without_credentials
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import HUB_SECRET, ClusterSettings, own_namespace
from slipway.components.step_runtime.run_record import run_name
from slipway.components.train.kueue import QUEUE_LABEL
from slipway.components.train.launcher import MLFLOW_PATIENCE

GROUP, VERSION, PLURAL = "kubeflow.org", "v1", "pytorchjobs"
APP_LABELS = {"app.kubernetes.io/name": "slipway", "app.kubernetes.io/component": "trainer"}
TRAINING_LABEL = "slipway.dev/training"
RUN_LABEL = "slipway.dev/run"
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
PASSED_ON = ("MLFLOW_RUN_ID", "MLFLOW_TRACKING_URI", "MLFLOW_WORKSPACE")
"""Variables of the step that the pods get, too: the MLflow run that Kubeflow Pipelines may have made for the step (see
`slipway.components.platforms.tracking_server`). No variable with a login is among them.
"""
USER = 65532
"""The user and group of the image, which is not root."""


def job_manifest(
    name: str, training: str, store: str, train: TrainSettings, settings: ClusterSettings, namespace: str
) -> dict[str, Any]:
    """A PyTorchJob with a master and workers, or an elastic one with workers only.

    The weights depend on the number of processes, and a checkpoint of N processes is not resumed by M. So an elastic
    job replaces lost workers, and does not go on with fewer.

    Args:
        name: of the job, and of this launch in the store.
        training: value of the label that all launches of one training share.
        store: URI of the training in the store.
        train: number of processes, and threads of each.
        settings: image, resources and placement of the pods.
        namespace: of the job.

    Raises:
        BadInput: the number of processes is no multiple of the processes of a pod.
    """
    pods = settings.pods(train.processes)
    labels = APP_LABELS | {TRAINING_LABEL: training} | run_label(run_name())
    template = _pod(name, store, train.threads_per_process, settings, labels)
    spec: dict[str, Any] = {
        "nprocPerNode": str(settings.processes_per_pod),
        "runPolicy": {
            "backoffLimit": settings.restarts,
            "activeDeadlineSeconds": settings.deadline_s,
            # The launcher reads the logs and states of ended pods first. Then it removes the job with its pods.
            "cleanPodPolicy": "None",
            "ttlSecondsAfterFinished": 3600,  # for a job whose launcher was killed and cannot remove it
        },
    }
    if settings.elastic:
        spec["elasticPolicy"] = {
            "minReplicas": pods,
            "maxReplicas": pods,
            "maxRestarts": settings.restarts,
            "rdzvBackend": "c10d",
            "rdzvId": name,
        }
        groups = {"Worker": pods}
    else:
        groups = {"Master": 1} | ({"Worker": pods - 1} if pods > 1 else {})
    spec["pytorchReplicaSpecs"] = {
        role: {"replicas": count, "restartPolicy": "OnFailure", "template": template} for role, count in groups.items()
    }
    # Only the job has the label of the queue: Kueue would hold each pod with it separately.
    queue = {QUEUE_LABEL: settings.queue} if settings.queue else {}
    metadata = {"name": name, "namespace": namespace, "labels": labels | queue, "ownerReferences": _owner(namespace)}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": "PyTorchJob", "metadata": metadata, "spec": spec}


def run_label(run: str) -> dict[str, str]:
    """The label of the objects of a run; empty when the run's id is empty or cannot be the value of a label."""
    return {RUN_LABEL: run} if LABEL_VALUE.fullmatch(run) else {}


def first_pod(name: str, settings: ClusterSettings) -> str:
    """The pod in which the process of rank 0 runs."""
    return f"{name}-{'worker' if settings.elastic else 'master'}-0"


def _pod(name: str, store: str, threads: int, settings: ClusterSettings, labels: dict[str, str]) -> dict[str, Any]:
    environment = {
        "SLIPWAY_STORE": store,
        "SLIPWAY_LAUNCH": name,
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        **MLFLOW_PATIENCE,
        **{variable: without_credentials(os.environ[variable]) for variable in PASSED_ON if variable in os.environ},
    }
    container = {
        "name": "pytorch",  # the training operator requires this name
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "slipway.components.train.remote", "pod"],
        "env": [{"name": variable, "value": value} for variable, value in environment.items()],
        "envFrom": [{"secretRef": {"name": settings.secret}}, {"secretRef": {"name": HUB_SECRET, "optional": True}}],
        "resources": {
            "requests": {"cpu": settings.cpu, "memory": settings.memory},
            "limits": {"memory": settings.memory},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "workspace", "mountPath": "/workspace"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {
        "metadata": {"labels": labels, "annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "serviceAccountName": settings.service_account,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 10,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "workspace", "emptyDir": {"sizeLimit": settings.scratch}},
                {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            ],
        },
    }


def _owner(namespace: str) -> list[dict[str, Any]]:
    """An owner reference to the step's own pod on Kubeflow Pipelines.

    With it Kubernetes removes the job when the run or the pod is removed. An owner must be in the same namespace.
    """
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    if not name or not uid or namespace != own_namespace():
        return []
    return [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]
