"""The Argo Workflow that runs a pipeline on Kubeflow Pipelines: its nodes, and whether somebody ended it.

Argo names a node by its path, such as `slipway-2z8wt(0).root(0).exit-handler-1(0).train(0).executor(1)`: the numbers
count attempts, since all templates of Kubeflow Pipelines 2.17 may be tried again; `(1:1)` is an iteration of a loop.
A task is a driver (`train-driver`) and an executor (`train.executor`); an exit task is below `….onExit`.
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
"""Label with the run's id, of a Workflow and of each of its pods."""

WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
"""Label that Argo's pods have, and those that a step makes have not."""

ATTEMPT = re.compile(r"\((\d+)\)")
EXECUTOR, DRIVER, ROOT = "executor", "-driver", "root"
Item = TypeVar("Item")


def workflows(run: str, namespace: str) -> list[dict[str, Any]]:
    """The Workflows of a run, as JSON; none when they are gone.

    Raises:
        BadInput: there is no cluster, or it does not let us.
        ApiAway: it cannot be reached.
    """
    with asking("list workflows", needs="Kubeflow Pipelines"):
        found = client.CustomObjectsApi(connect()).list_namespaced_custom_object(
            "argoproj.io",
            "v1alpha1",
            namespace,
            "workflows",
            label_selector=f"{RUN_LABEL}={run}",
            _request_timeout=TIMEOUT,
        )
    return list(found["items"])


def ended_by_somebody(workflow: dict[str, Any]) -> bool:
    """Whether somebody ended it: Kubeflow Pipelines sets a deadline of zero, Argo's own commands a shutdown."""
    spec = workflow.get("spec", {})
    return spec.get("activeDeadlineSeconds") == 0 or bool(spec.get("shutdown"))


def nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """The nodes in its status, also when Argo compressed that, which it does past 1 MB."""
    status = workflow.get("status", {})
    if compressed := status.get("compressedNodes"):
        return list(json.loads(gzip.decompress(base64.b64decode(compressed))).values())
    return list(status.get("nodes", {}).values())


def last_attempts(named: Iterable[tuple[str, Item]]) -> list[tuple[str, Item]]:
    """Of what belongs to the same node but for the number of the attempt, the last one: what it replaced is past."""
    newest: dict[str, tuple[tuple[int, ...], str, Item]] = {}
    for name, item in named:
        attempts = tuple(int(number) for number in ATTEMPT.findall(name))
        node = ATTEMPT.sub("", name)
        if node not in newest or attempts >= newest[node][0]:
            newest[node] = attempts, name, item
    return [(name, item) for _, name, item in newest.values()]


def task_of(node: str) -> str:
    """The task that a node belongs to, with underscores as in our steps; the pipeline itself for its first driver."""
    parts = [part.partition("(")[0] for part in node.split(".")]
    if parts[-1] == EXECUTOR and len(parts) > 1:
        parts.pop()
    task = parts[-1].removesuffix(DRIVER)
    return "pipeline" if task == ROOT else task.replace("-", "_")


def after_the_end(node: str) -> bool:
    """Whether a node belongs to an exit task, which runs when all others ended."""
    return ".onExit" in node
