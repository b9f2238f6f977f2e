"""The Argo Workflow that runs a pipeline on Kubeflow Pipelines: its nodes, and whether a user terminated it.

Argo names a node by its path, such as `slipway-2z8wt(0).root(0).exit-handler-1(0).train(0).executor(1)`. A number
counts attempts, since Argo may retry every template of Kubeflow Pipelines 2.17. `(1:1)` is an iteration of a loop. Each
task has a node for its driver (`train-driver`) and one for its executor (`train.executor`). An exit task is below
`….onExit`.
"""

import base64
import gzip
import json
import re
from collections.abc import Iterable
from typing import Any, TypeVar

from kubernetes import client

from slipway.components.platforms.kubernetes_api import TIMEOUT, asking, connect

RUN_LABEL = "pipeline/runid"
"""Label of a Workflow and of each of its pods; the value is the run's id."""

WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
"""Label of the pods that Argo makes. Pods that a step makes, such as those of a training, do not have it."""

ATTEMPT = re.compile(r"\((\d+)\)")
EXECUTOR, DRIVER, ROOT = "executor", "-driver", "root"
Item = TypeVar("Item")


def workflows(run: str, namespace: str) -> list[dict[str, Any]]:
    """Read the Workflows of a run, as JSON; an empty list when they were removed.

    Raises:
        BadInput: there is no cluster, or it does not allow the request.
        ApiAway: the cluster cannot be reached.
    """
    with asking("list workflows", needs="Kubeflow Pipelines"):
        response = client.CustomObjectsApi(connect()).list_namespaced_custom_object(
            "argoproj.io",
            "v1alpha1",
            namespace,
            "workflows",
            label_selector=f"{RUN_LABEL}={run}",
            _request_timeout=TIMEOUT,
        )
    return list(response["items"])


def was_terminated(workflow: dict[str, Any]) -> bool:
    """Whether a user terminated the Workflow. Kubeflow Pipelines sets a deadline of zero for that, and Argo's own
    commands set `shutdown`.
    """
    spec = workflow.get("spec", {})
    return spec.get("activeDeadlineSeconds") == 0 or bool(spec.get("shutdown"))


def nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes in the status of a Workflow. Argo compresses them when the status is larger than 1 MB."""
    status = workflow.get("status", {})
    if compressed := status.get("compressedNodes"):
        return list(json.loads(gzip.decompress(base64.b64decode(compressed))).values())
    return list(status.get("nodes", {}).values())


def last_attempts(named_items: Iterable[tuple[str, Item]]) -> list[tuple[str, Item]]:
    """Of several attempts at the same node, keep only the last one.

    Args:
        named_items: the name of each node, and anything that belongs to it.
    """
    newest: dict[str, tuple[tuple[int, ...], str, Item]] = {}
    for name, item in named_items:
        attempts = tuple(int(number) for number in ATTEMPT.findall(name))
        node = ATTEMPT.sub("", name)
        if node not in newest or attempts >= newest[node][0]:
            newest[node] = attempts, name, item
    return [(name, item) for _, name, item in newest.values()]


def task_of(node: str) -> str:
    """The name of the task that a node belongs to, with underscores as in the names of steps; `pipeline` for the driver
    of the pipeline itself.
    """
    parts = [part.partition("(")[0] for part in node.split(".")]
    if parts[-1] == EXECUTOR and len(parts) > 1:
        parts.pop()
    task = parts[-1].removesuffix(DRIVER)
    return "pipeline" if task == ROOT else task.replace("-", "_")


def is_of_exit_task(node: str) -> bool:
    """Whether a node belongs to an exit task, which runs after all other tasks."""
    return ".onExit" in node
