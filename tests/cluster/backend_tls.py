"""BackendTLSPolicies on a cluster without the Gateway API: the kind, as far as tests need it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from slipway.components.rollout.kserve.backend_tls import KIND
from tests.cluster.access import Cluster, held

NAME = f"{KIND.plural}.{KIND.group}"
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": NAME,
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},  # the group is Kubernetes' own
    },
    "spec": {
        "group": KIND.group,
        "scope": "Namespaced",
        "names": {"kind": KIND.name, "plural": KIND.plural, "singular": KIND.name.lower()},
        "versions": [
            {
                "name": KIND.version,
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@contextmanager
def known(cluster: Cluster) -> Iterator[None]:
    """The kind is there."""
    with held("backend-tls-kind"):
        made = not cluster.kubectl("get", "crd", NAME, "--ignore-not-found")
        if made:
            cluster.apply(CRD)
        cluster.kubectl("wait", f"crd/{NAME}", "--for=condition=Established", "--timeout=60s")
        try:
            yield
        finally:
            if made:
                cluster.kubectl("delete", "crd", NAME)
