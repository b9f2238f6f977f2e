"""What a failed run on Kubeflow Pipelines died of, told by its pods.

A driver that refuses its task, a program that cannot be imported, an image that cannot be pulled: none of our code has
run, so none of it left a word, but the pod says what happened. Needs the rights that `pipeline-runner` has: to list
pods and Workflows and to read the logs of pods.
"""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from kubernetes import client

from slipway.components.kubeflow import argo_workflow
from slipway.components.kubeflow.argo_workflow import RUN_LABEL, WORKFLOW_LABEL, after_the_end, last_attempts, task_of
from slipway.components.kubeflow.log_excerpt import cut
from slipway.components.kubeflow.pod_trouble import Sayings, argument, explained, is_driver, troubles
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking, connect
from slipway.components.step_runtime.kfp_component import EXECUTOR

NODE_NAME = "workflows.argoproj.io/node-name"
LOG_LINES = 300
"""The end of a log that is read."""


class Diagnosis(NamedTuple):
    """What a run died of."""

    task: str
    """The task, named as its component's function: `train`, `preflight`; `pipeline` for the run's first driver."""
    cause: str
    """One sentence without an end mark."""
    lines: list[str]
    """The telling lines of the pod's log, or of what it waits for; at most 12 of 500 characters."""
    pod: str


def diagnose(run: str, namespace: str) -> Diagnosis | None:
    """What a run died of; None when nothing failed, or when nothing can be seen, which is then said.

    Args:
        run: id of the run, as in the label `pipeline/runid`.
        namespace: where Kubeflow Pipelines runs the steps.
    """
    try:
        core = client.CoreV1Api(connect())
        with asking("list pods"):
            selector = f"{RUN_LABEL}={run},{WORKFLOW_LABEL}"
            pods = core.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=TIMEOUT).items
        return first_cause(pods, _Cluster(core, namespace), datetime.now(UTC)) or _of_workflow(run, namespace)
    except Exception as error:  # whoever asks tells how a run ended: that must not fail because more cannot be told
        _say(f"what run {run} died of cannot be seen ({cut(str(error))})")
        return None


def cancelled(run: str, namespace: str) -> bool:
    """Whether somebody terminated a run; False also when that cannot be seen, which is then said.

    Args:
        run: id of the run, as in the label `pipeline/runid`.
        namespace: where Kubeflow Pipelines runs the steps.
    """
    try:
        return any(argo_workflow.ended_by_somebody(workflow) for workflow in argo_workflow.workflows(run, namespace))
    except Exception as error:  # see diagnose
        _say(f"whether run {run} was terminated cannot be seen ({cut(str(error))})")
        return False


def created(run: str, namespace: str) -> float | None:
    """When a run was made, in seconds since the epoch; None when that cannot be seen, which is then said.

    Args:
        run: id of the run, as in the label `pipeline/runid`.
        namespace: where Kubeflow Pipelines runs the steps.
    """
    try:
        times = [workflow["metadata"]["creationTimestamp"] for workflow in argo_workflow.workflows(run, namespace)]
        return min(datetime.fromisoformat(time).timestamp() for time in times) if times else None
    except Exception as error:  # see diagnose
        _say(f"when run {run} began cannot be seen ({cut(str(error))})")
        return None


def first_cause(pods: Iterable[Any], sayings: Sayings, now: datetime) -> Diagnosis | None:
    """The first trouble in time among the last attempts of a run's nodes, exit tasks last; None without any.

    Args:
        pods: kubernetes `V1Pod`s of the run.
        sayings: reads logs and events, of the one pod only.
        now: with time zone.
    """
    found = [
        ((after_the_end(name), trouble.rank, trouble.time), name, pod, trouble)
        for name, pod in last_attempts((_node_name(pod), pod) for pod in pods)
        if (trouble := next(troubles(pod, now), None))
    ]
    if not found:
        return None
    _, name, pod, trouble = min(found, key=lambda each: each[0])
    cause, lines = explained(pod, trouble, sayings)
    return Diagnosis(_task(pod, name), cut(cause), [cut(line) for line in lines], pod.metadata.name)


def _of_workflow(run: str, namespace: str) -> Diagnosis | None:
    """What the run's Workflow still knows of pods that are gone."""
    known = [node for workflow in argo_workflow.workflows(run, namespace) for node in argo_workflow.nodes(workflow)]
    tried = last_attempts((node["name"], node) for node in known if node.get("type") == "Pod")
    failed = [(name, node) for name, node in tried if node.get("phase") in ("Failed", "Error")]
    if not failed:
        return None
    name, node = min(failed, key=lambda each: (after_the_end(each[0]), each[1].get("finishedAt") or "~"))
    words = node.get("message") or "no message"
    return Diagnosis(task_of(name), cut(f"its pod is gone; Argo keeps of it: {words}"), [cut(words)], node["id"])


def _task(pod: Any, node: str) -> str:
    """The task's name by Argo's node, else by the arguments of a driver or of a step of ours."""
    if NODE_NAME in (pod.metadata.annotations or {}):
        return task_of(node)
    name = argument(pod, EXECUTOR).rpartition(":")[2] or argument(pod, "--task_name")
    return name.replace("-", "_") if name else ("pipeline" if is_driver(pod) else pod.metadata.name)


def _node_name(pod: Any) -> str:
    return str((pod.metadata.annotations or {}).get(NODE_NAME) or pod.metadata.name)


class _Cluster:
    """`Sayings` of the pods of a namespace."""

    def __init__(self, core: Any, namespace: str) -> None:
        self.core, self.namespace = core, namespace

    def log(self, pod: str, container: str) -> str:
        """See `Sayings`; a log may be gone with its node."""
        try:
            response = self.core.read_namespaced_pod_log(
                pod,
                self.namespace,
                container=container,
                tail_lines=LOG_LINES,
                _preload_content=False,  # the client would take a log that is JSON apart
                _request_timeout=TIMEOUT,
            )
            return str(response.data.decode("utf-8", "replace"))
        except Exception as error:
            _say(f"the log of pod {pod} cannot be read ({cut(str(error))})")
            return ""

    def events(self, pod: str) -> list[str]:
        """See `Sayings`; `pipeline-runner` may not read events."""
        selector = f"involvedObject.name={pod},type=Warning"
        try:
            found = self.core.list_namespaced_event(
                self.namespace, field_selector=selector, _request_timeout=TIMEOUT
            ).items
        except Exception:
            return []
        return [str(event.message) for event in sorted(found, key=lambda event: str(event.last_timestamp))]


def _say(words: str) -> None:
    print(" ".join(words.split()), file=sys.stderr, flush=True)
