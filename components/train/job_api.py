"""The requests about PyTorchJobs that a training sends to the Kubernetes API. Rejections become clear errors."""

from contextlib import AbstractContextManager, suppress
from typing import Any, NamedTuple

from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking, connect, reaching
from slipway.components.step_runtime import progress
from slipway.components.train import kueue
from slipway.components.train.job_manifest import GROUP, PLURAL, TRAINING_LABEL, VERSION

NEEDS = "the training operator, and apply manifests/"


class _Gone(SlipwayError):
    """The job to be removed does not exist any more."""


class NoOperator(BadInput):
    """The cluster has no PyTorchJobs, since the training operator is not installed."""


class Ending(NamedTuple):
    """How a job ended."""

    succeeded: bool
    reason: str
    """Reason and message of the condition that ended the job."""


class Look(NamedTuple):
    """A job and its pods at one moment."""

    ending: Ending | None
    pods: list[Any]
    resource_version: str
    job: dict[str, Any]

    @property
    def held(self) -> bool:
        """Whether the job is suspended, so that it may not have pods: it waits in a queue, say.

        The condition `Suspended` shows the same later, and does not change while the training operator is away.
        """
        return bool(self.job["spec"]["runPolicy"].get("suspend"))


class JobApi:
    """PyTorchJobs of one namespace.

    Every method raises `BadInput` when the cluster does not allow the request, and `ApiAway` when it cannot be reached.

    Args:
        namespace: of the jobs.

    Raises:
        BadInput: there is no cluster.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        api = connect()
        self.core, self._custom = client.CoreV1Api(api), client.CustomObjectsApi(api)
        self._place = (GROUP, VERSION, namespace, PLURAL)

    def at_work(self, training: str) -> list[str]:
        """Names of the jobs of a training that have not ended."""
        return self.not_ended(f"{TRAINING_LABEL}={training}")

    def not_ended(self, selector: str) -> list[str]:
        """Names of the jobs that match a label selector and have not ended.

        Raises:
            NoOperator: the training operator is not installed.
        """
        with _asking("list PyTorchJobs", missing=NoOperator(f"the cluster knows no PyTorchJobs; install {NEEDS}")):
            jobs = self._custom.list_namespaced_custom_object(
                *self._place, label_selector=selector, _request_timeout=TIMEOUT
            )["items"]
        return [
            job["metadata"]["name"] for job in jobs if not job["metadata"].get("deletionTimestamp") and not _ending(job)
        ]

    def create(self, job: dict[str, Any]) -> None:
        """Create a job."""
        with _asking("create PyTorchJobs"):
            self._custom.create_namespaced_custom_object(*self._place, job, _request_timeout=TIMEOUT)

    def look(self, name: str) -> Look:
        """Read the job and its pods.

        Raises:
            SlipwayError: the job does not exist any more.
        """
        gone = f"PyTorchJob {name} was removed by someone else while it ran; train again"
        with _asking("read PyTorchJobs", missing=SlipwayError(gone)):
            job = self._custom.get_namespaced_custom_object(*self._place, name, _request_timeout=TIMEOUT)
        with _asking("list pods"):
            pods = self.core.list_namespaced_pod(
                self.namespace, label_selector=_pod_selector(name), _request_timeout=TIMEOUT
            )
        return Look(_ending(job), pods.items, pods.metadata.resource_version, job)

    def why_held(self, job: dict[str, Any]) -> str:
        """Why a job is held, as the end of a sentence that begins with its name; see `kueue.why_held`."""
        return kueue.why_held(self._custom, job)

    def next_event(self, name: str, version: str, seconds: int) -> tuple[Any, str]:
        """Wait for the next change of one of the job's pods.

        A caller that passes on each returned version sees every state of every pod, also of pods that the operator
        replaced at once.

        Args:
            name: of the job.
            version: resource version after which events count.
            seconds: how long to wait.

        Returns:
            The pod as it was after the change (None without a change in time), and the version for the next call. The
            version is empty when the API server does not have it any more; then start again with `look`.
        """
        try:
            with reaching():
                events = watch.Watch().stream(
                    self.core.list_namespaced_pod,
                    self.namespace,
                    label_selector=_pod_selector(name),
                    resource_version=version,
                    timeout_seconds=seconds,
                    _request_timeout=TIMEOUT,
                )
                pod = next((event["object"] for event in events), None)
        except ApiException:
            return None, ""
        return pod, pod.metadata.resource_version if pod else version

    def delete(self, name: str) -> None:
        """Remove a job and its pods. A failure is only reported, so that it does not hide how the training ended."""
        try:
            self.remove(name)
        except SlipwayError as error:
            progress.report("train", f"PyTorchJob {self.namespace}/{name} could not be removed: {error}")

    def remove(self, name: str) -> None:
        """Remove a job and its pods; does nothing when the job does not exist."""
        with suppress(_Gone), _asking("delete PyTorchJobs", missing=_Gone()):
            self._custom.delete_namespaced_custom_object(
                *self._place, name, propagation_policy="Background", _request_timeout=TIMEOUT
            )


def _asking(action: str, missing: SlipwayError | None = None) -> AbstractContextManager[None]:
    return asking(action, missing, NEEDS)


def _pod_selector(name: str) -> str:
    return f"training.kubeflow.org/job-name={name}"


def _ending(job: dict[str, Any]) -> Ending | None:
    for condition in job.get("status", {}).get("conditions") or []:
        if condition["type"] in ("Succeeded", "Failed") and condition["status"] == "True":
            reason = f"{condition.get('reason')}: {condition.get('message')}"
            return Ending(condition["type"] == "Succeeded", reason)
    return None
