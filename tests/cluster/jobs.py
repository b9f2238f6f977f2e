"""PyTorchJobs as the training launcher makes them, whose pods only sleep: they need no store and little time."""

import itertools
from typing import Any

from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.train.job_api import JobApi
from slipway.components.train.job_manifest import job_manifest
from tests.cluster.access import Cluster

KIND = "pytorchjobs.kubeflow.org"


class Jobs:
    """Makes jobs in one namespace, with the rights of the pipeline's service account.

    Args:
        cluster: where, with an image that has a shell.
        namespace: of the jobs.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.api = JobApi(namespace)
        self._numbers = itertools.count(1)

    def settings(self, **changes: Any) -> ClusterSettings:
        """Small pods in the namespace."""
        usual = {"namespace": self.namespace, "image": self.cluster.image, "cpu": "50m", "memory": "64Mi"}
        return ClusterSettings.model_validate(usual | {"store": "s3://none/none"} | changes)

    def create(self, seconds: int, settings: ClusterSettings, suspend: bool = False) -> str:
        """The name of a job of one pod that works for some seconds, ends at once when it is told to, and ends well."""
        name = f"sleeps-{next(self._numbers)}"
        job = job_manifest(name, name, "s3://none/none", TrainSettings(processes=1), settings, self.namespace)
        (container,) = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"]
        container["command"] = ["sh", "-c", f"trap 'exit 143' TERM; sleep {seconds} & wait $!"]
        del container["envFrom"]
        job["spec"]["runPolicy"]["suspend"] = suspend
        self.api.create(job)
        return name

    def names(self) -> list[str]:
        """Of all jobs that are not about to go."""
        found = self.cluster.read(KIND, "--namespace", self.namespace)["items"]
        return sorted(job["metadata"]["name"] for job in found if "deletionTimestamp" not in job["metadata"])

    def phases(self, name: str) -> list[str]:
        """Of a job's pods."""
        selector = f"--selector=training.kubeflow.org/job-name={name}"
        return [pod["status"]["phase"] for pod in self.cluster.read("pods", "-n", self.namespace, selector)["items"]]

    def remove(self, name: str) -> None:
        """Remove a job."""
        self.cluster.kubectl("delete", KIND, name, "--namespace", self.namespace)
