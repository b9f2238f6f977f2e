"""The account of the steps in a namespace with the manifests' rights and policies, and the objects that steps make."""

import copy
import json
from collections.abc import Callable
from typing import Any

from kubernetes import config
from kubernetes.client.exceptions import ApiException

from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve import manifest
from slipway.components.rollout.kserve.record import Record
from slipway.components.rollout.target import Revision
from slipway.components.train.job_manifest import job_manifest
from tests.background import eventually
from tests.cluster.access import Cluster

DIGEST = f"sha256:{'a' * 64}"
KINDS = {
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "PodTemplate",
    "ConfigMap",
    "CronJob",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}
"""What the tests need of the manifests: no pods."""
IMAGE = "slipway/slipway-python:0.1.0"
PATHS = {
    "PyTorchJob": "/apis/kubeflow.org/v1/namespaces/{namespace}/pytorchjobs",
    "InferenceService": "/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices",
    "BackendTLSPolicy": "/apis/gateway.networking.k8s.io/v1/namespaces/{namespace}/backendtlspolicies",
    "Lease": "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
    "Job": "/apis/batch/v1/namespaces/{namespace}/jobs",
}


class Steps:
    """Asks the API server with the token of the steps' account, in a namespace of the tests; nothing is kept.

    Args:
        cluster: where.
        namespace: with the manifests' accounts, rights and policies.
        kubeconfig: of the account.
    """

    def __init__(self, cluster: Cluster, namespace: str, kubeconfig: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self._api = config.new_client_from_config(kubeconfig)
        self._owner = config.new_client_from_config(cluster.kubeconfig)

    def ask(self, verb: str, path: str, body: Any = None, kept: bool = False, owner: bool = False) -> str:
        """What the API server says against it; nothing when it is admitted."""
        kind = "application/apply-patch+yaml" if verb == "PATCH" else "application/json"
        query = [] if kept else [("dryRun", "All")]
        if verb == "PATCH":
            query += [("fieldManager", "slipway-rollout"), ("force", "true")]
        try:
            (self._owner if owner else self._api).call_api(
                path.format(namespace=self.namespace),
                verb,
                query_params=query,
                header_params={"Content-Type": kind, "Accept": "application/json"},
                body=body,
                auth_settings=["BearerToken"],
                response_type="object",
            )
        except ApiException as error:
            return str(json.loads(error.body)["message"]) if error.body.startswith("{") else str(error.body)
        return ""

    def create(self, made: dict[str, Any], **how: bool) -> str:
        """What is said against a new object."""
        return self.ask("POST", PATHS[made["kind"]], made, **how)

    def apply(self, made: dict[str, Any], **how: bool) -> str:
        """What is said against an object that is applied, as the rollout does."""
        return self.ask("PATCH", f"{PATHS[made['kind']]}/{made['metadata']['name']}", made, **how)

    def remove(self, made: dict[str, Any], **how: bool) -> str:
        """What is said against the removal of an object."""
        return self.ask("DELETE", f"{PATHS[made['kind']]}/{made['metadata']['name']}", **how)


def wait_for_policies(asked: Steps) -> None:
    """Until each is in force and knows what is usual: the API server takes a moment for new ones."""
    for made in (trainer(asked), service(asked), lease(asked), signer(asked)):
        strange = changed(made, lambda it: it["metadata"].update(finalizers=["example.com/x"], labels={}, name="x"))

        def refused(strange: dict[str, Any] = strange) -> bool:
            said = asked.create(strange)
            return "ValidatingAdmissionPolicy" in said and "no params found" not in said

        eventually(refused)


def changed(made: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """A copy of an object in which something is other."""
    copied = copy.deepcopy(made)
    change(copied)
    return copied


def trainer(steps: Steps, **settings: Any) -> dict[str, Any]:
    """A PyTorchJob as the step train makes it."""
    chosen = ClusterSettings.model_validate({"namespace": steps.namespace, "image": IMAGE} | settings)
    return job_manifest("train-1", "train", "s3://slipway/t", TrainSettings(processes=2), chosen, steps.namespace)


def service(steps: Steps, mode: manifest.Mode = "Knative") -> dict[str, Any]:
    """An InferenceService in the midst of a rollout, as the step rollout applies it."""
    champion, challenger = (Revision(number, f"s3://slipway/bundles/{number}", DIGEST) for number in "12")
    record = Record(champion, challenger, 10, state={"phase": "canary"})
    return manifest.service("messages", steps.namespace, record, mode, ClusterSettings(namespace=steps.namespace))


def lease(steps: Steps, transitions: int = 1, holder: str = "pod/1/abcd", name: str = "messages-rollout") -> Any:
    """The lock of a rollout."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 20, "leaseTransitions": transitions}
    metadata = {"name": name, "namespace": steps.namespace}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def signer(steps: Steps) -> dict[str, Any]:
    """The Job that signs, as the step register makes it."""
    found = steps.cluster.read("cronjob", "slipway-signer", "--namespace", steps.namespace)["spec"]["jobTemplate"]
    found["spec"]["template"]["metadata"]["annotations"] = {"slipway.dev/files": json.dumps(FILES).replace(" ", "")}
    metadata = {"name": "sign-1", "labels": {"app.kubernetes.io/component": "signer"}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": found["spec"]}


FILES = {"model.onnx": "a" * 64, "bundle.json": "b" * 64}
