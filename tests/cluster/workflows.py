"""Argo's Workflows as far as tests need them: the kind, on a cluster without Argo, and what Terminate sends."""

import json
from typing import Any

from tests.cluster.access import Cluster

WORKFLOW_KIND: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "workflows.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "scope": "Namespaced",
        "names": {"kind": "Workflow", "plural": "workflows", "singular": "workflow"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def make(cluster: Cluster, namespace: str, run: str) -> None:
    """A Workflow of a run."""
    metadata: dict[str, Any] = {"name": run, "namespace": namespace, "labels": {"pipeline/runid": run}}
    cluster.apply(
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": {"suspend": True}}
    )


def terminate(cluster: Cluster, namespace: str, run: str) -> None:
    """Send the patch that the backend of Kubeflow Pipelines sends for Terminate."""
    patch = json.dumps({"spec": {"activeDeadlineSeconds": 0}})
    cluster.kubectl("patch", "workflow", run, "-n", namespace, "--type=merge", "--patch", patch)
