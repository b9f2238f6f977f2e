"""The settings of the Kubernetes cluster for trainings and model servers, and whether this process runs in one."""

import os
from typing import Literal

from slipway.components.errors import BadInput
from slipway.components.platforms.container_image import IMAGE
from slipway.components.settings import Settings, setting

STORE = "s3://slipway"
"""The store of `manifests/`. A run in pods uses it unless the settings name another one."""
HUB_SECRET = "slipway-hub"
"""Secret with the HF_* variables of a model hub that needs credentials; it may be absent."""

PUBLIC_KEY = "slipway-public-key"
"""ConfigMap by which model servers verify bundles: every `*.pem` in it is trusted, with refused-digests.txt."""
SECRETS = "`manifests/install.sh secrets`"
"""The command that creates this ConfigMap and the Secrets."""


class ClusterSettings(Settings):
    """Where and with what the pods of trainings and model servers run."""

    namespace: str = setting("slipway", "namespace of what is made there; empty for the step's own")
    store: str = setting(
        "", "s3://bucket/prefix through which data and checkpoints reach the pods; empty for where registry.store is"
    )
    tracking_uri: str = setting(
        "", "address of the MLflow tracking server for pods, when theirs is another; empty for tracking_uri"
    )
    image: str = setting(IMAGE, "container image of the pods", min_length=1)
    secret: str = setting(
        "slipway-s3-trainers",
        "Secret of trainers, with the AWS_* variables of the store and MLflow's login",
        min_length=1,
    )
    service_account: str = setting("slipway-trainer", "service account of trainers; it needs no rights", min_length=1)
    processes_per_pod: int = setting(1, "worker processes of each pod of a training", "processes", ge=1)
    elastic: bool = setting(False, "workers only, that meet by torchelastic's rendezvous, in place of a master")
    cpu: str = setting("500m", "CPU that each trainer asks for; it may use what is idle", "Kubernetes quantity")
    memory: str = setting("2Gi", "memory of each trainer, and its limit", "Kubernetes quantity")
    scratch: str = setting("8Gi", "disk of each trainer for dataset and checkpoints", "Kubernetes quantity")
    restarts: int = setting(6, "restarts of containers of a training, all together, before it fails", "restarts", ge=1)
    deadline_s: int = setting(
        6 * 3600, "longest time of a training, and before that of its wait in a queue", "seconds", ge=60
    )
    queue: str = setting(
        "",
        "LocalQueue of Kueue in which trainings wait for their turn; empty to start at once",
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?)?$",
    )
    unschedulable_s: float = setting(
        300.0, "how long a pod may wait for a node; autoscalers bring one in minutes", "seconds", ge=1
    )
    deployment_mode: Literal["auto", "Knative", "Standard"] = setting(
        "auto", "how KServe deploys a new service; auto is the cluster's default"
    )
    runtime: str = setting(
        "slipway-bundle", "ServingRuntime of model servers; for gRPC the one of this name and -grpc", min_length=1
    )
    protocol: Literal["rest", "grpc"] = setting(
        "rest", "what clients speak to the gateway: Knative leads to one port of a model server"
    )
    server_account: str = setting("slipway-server", "service account of model servers", min_length=1)
    min_replicas: int = setting(1, "pods of each revision at least", "pods", ge=1)
    max_replicas: int = setting(3, "pods of the revision that serves at most", "pods", ge=1)
    gateway: str = setting(
        "",
        "address of the ingress gateway, for example http://127.0.0.1:8080, where the service's own name does not "
        "resolve; empty for the service's address in a cluster, its URL elsewhere",
    )
    prometheus: str = setting(
        "", "address of a Prometheus that scrapes the model servers; empty to read their own metrics"
    )

    @property
    def serving_runtime(self) -> str:
        """The ServingRuntime whose port speaks `protocol`."""
        return self.runtime if self.protocol == "rest" else f"{self.runtime}-grpc"

    def pods(self, processes: int) -> int:
        """The number of pods for `processes` worker processes.

        Raises:
            BadInput: the processes do not fill the pods.
        """
        pods, rest = divmod(processes, self.processes_per_pod)
        if rest:
            size = self.processes_per_pod
            raise BadInput(
                f"{processes} processes do not fill pods of {size}; set train.processes to a multiple of {size}"
            )
        return pods


def own_namespace() -> str | None:
    """The namespace that this process runs in; None outside of a cluster."""
    try:
        with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return os.environ.get("KFP_NAMESPACE")
