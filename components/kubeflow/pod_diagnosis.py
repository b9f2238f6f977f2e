"""Find out from its pods why a run on Kubeflow Pipelines failed.

A driver may reject its task, a program may fail to import, an image may not be pulled. In these cases none of our code
has run, so the record of the run has no failure, but the pod shows what happened. The service account
`pipeline-runner` has the rights that this needs: to list pods and Workflows, and to read the logs of pods.
"""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from kubernetes import client

from slipway.components.kubeflow import argo_workflow
from slipway.components.kubeflow.argo_workflow import RUN_LABEL, WORKFLOW_LABEL, is_of_exit_task, last_attempts, task_of
from slipway.components.kubeflow.log_excerpt import cut
from slipway.components.kubeflow.pod_trouble import PodReader, argument, explain, is_driver, troubles
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking, connect
from slipway.components.step_runtime.kfp_component import EXECUTOR

NODE_NAME = "workflows.argoproj.io/node-name"
LOG_LINES = 300
"""How many lines at the end of a log are read."""


class Diagnosis(NamedTuple):
    """Why a run failed."""

    task: str
    """The task that failed, by the name of its component's function, such as `train`; `pipeline` for the driver of the
    pipeline itself.
    """
    cause: str
    """One sentence without a full stop."""
    lines: list[str]
    """Lines of the pod's log, or messages about it, that show the cause; at most 12 of 500 characters."""
    pod: str
    """Name of the pod."""


def diagnose(run: str, namespace: str) -> Diagnosis | None:
    """Find out why a run failed; None when nothing failed, or when the cluster cannot be read, which is then printed.

    Args:
        run: id of the run, as in the label `pipeline/runid`.
        namespace: in which Kubeflow Pipelines runs the steps.
    """
    try:
        core = client.CoreV1Api(connect())
        with asking("list pods"):
            selector = f"{RUN_LABEL}={run},{WORKFLOW_LABEL}"
            pods = core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=TIMEOUT).items
        return first_cause(pods, _Cluster(core, namespace), datetime.now(UTC)) or _of_workflow(run, namespace)
    except Exception as error:  # the caller reports how a run ended, which must not fail for lack of a diagnosis
        _print(f"what run {run} died of cannot be seen ({cut(str(error))})")
        return None


def cancelled(run: str, namespace: str) -> bool:
    """Whether a user terminated a run; False also when the cluster cannot be read, which is then printed.

    Args:
        run: id of the run, as in the label `pipeline/runid`.
        namespace: in which Kubeflow Pipelines runs the steps.
    """
    try:
        return any(argo_workflow.was_terminated(workflow) for workflow in argo_workflow.workflows(run, namespace))
    except Exception as error:  # see diagnose
        _print(f"whether run {run} was terminated cannot be seen ({cut(str(error))})")
        return False


def created(run: str, namespace: str) -> float | None:
    """When a run was created, in seconds since 1970; None when the cluster cannot be read, which is then printed.

    Args:
        run: id of the run, as in the label `pipeline/runid`.
        namespace: in which Kubeflow Pipelines runs the steps.
    """
    try:
        times = [workflow["metadata"]["creationTimestamp"] for workflow in argo_workflow.workflows(run, namespace)]
        return min(datetime.fromisoformat(time).timestamp() for time in times) if times else None
    except Exception as error:  # see diagnose
        _print(f"when run {run} began cannot be seen ({cut(str(error))})")
        return None


def first_cause(pods: Iterable[Any], reader: PodReader, now: datetime) -> Diagnosis | None:
    """The first trouble in time among the last attempts of a run's nodes; None when no pod is in trouble.

    Exit tasks come last, since they run after the failure. A killed pod comes after the others, since the failure of
    another pod is the most likely reason of its end.

    Args:
        pods: kubernetes `V1Pod`s of the run.
        reader: reads the log and the events of the pod that is chosen.
        now: the present time, with time zone.
    """
    candidates = [
        ((is_of_exit_task(name), trouble.rank, trouble.time), name, pod, trouble)
        for name, pod in last_attempts((_node_name(pod), pod) for pod in pods)
        if (trouble := next(troubles(pod, now), None))
    ]
    if not candidates:
        return None
    _, name, pod, trouble = min(candidates, key=lambda each: each[0])
    cause, lines = explain(pod, trouble, reader)
    return Diagnosis(_task(pod, name), cut(cause), [cut(line) for line in lines], pod.metadata.name)


def _of_workflow(run: str, namespace: str) -> Diagnosis | None:
    """The diagnosis from the run's Workflow, which keeps the messages of pods that were removed."""
    nodes = [node for workflow in argo_workflow.workflows(run, namespace) for node in argo_workflow.nodes(workflow)]
    attempts = last_attempts((node["name"], node) for node in nodes if node.get("type") == "Pod")
    failed = [(name, node) for name, node in attempts if node.get("phase") in ("Failed", "Error")]
    if not failed:
        return None
    name, node = min(failed, key=lambda each: (is_of_exit_task(each[0]), each[1].get("finishedAt") or "~"))
    message = node.get("message") or "no message"
    return Diagnosis(task_of(name), cut(f"its pod is gone; Argo keeps of it: {message}"), [cut(message)], node["id"])


def _task(pod: Any, node: str) -> str:
    """The task's name from Argo's node; without one, from the arguments of the driver or of the step's program."""
    if NODE_NAME in (pod.metadata.annotations or {}):
        return task_of(node)
    name = argument(pod, EXECUTOR).rpartition(":")[2] or argument(pod, "--task_name")
    return name.replace("-", "_") if name else ("pipeline" if is_driver(pod) else pod.metadata.name)


def _node_name(pod: Any) -> str:
    return str((pod.metadata.annotations or {}).get(NODE_NAME) or pod.metadata.name)


class _Cluster:
    """Reads logs and events of the pods of a namespace; see `PodReader`."""

    def __init__(self, core: Any, namespace: str) -> None:
        self.core, self.namespace = core, namespace

    def log(self, pod: str, container: str) -> str:
        """See `PodReader`. A log cannot be read when the pod's node was removed."""
        try:
            response = self.core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                tail_lines=LOG_LINES,
                _preload_content=False,  # otherwise the client would parse a log that is JSON
                _request_timeout=TIMEOUT,
            )
            return str(response.data.decode("utf-8", "replace"))
        except Exception as error:
            _print(f"the log of pod {pod} cannot be read ({cut(str(error))})")
            return ""

    def events(self, pod: str) -> list[str]:
        """See `PodReader`. The service account `pipeline-runner` is not allowed to read events."""
        selector = f"involvedObject.name={pod},type=Warning"
        try:
            events = self.core.list_namespaced_event(
                self.namespace, field_selector=selector, _request_timeout=TIMEOUT
            ).items
        except Exception:
            return []
        return [str(event.message) for event in sorted(events, key=lambda event: str(event.last_timestamp))]


def _print(message: str) -> None:
    print(" ".join(message.split()), file=sys.stderr, flush=True)
