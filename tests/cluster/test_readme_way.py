"""The way of the README on a real API server, as far as it goes without Kubeflow Pipelines: secrets and overlay, then
a run's preflight with the account of its steps.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from slipway.components.artifacts import signing
from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.register.settings import RegistrySettings
from slipway.pipelines.cluster_preflight import (
    FURTHER_RIGHTS,
    RIGHTS,
    RIGHTS_OF_STEPS,
    SIGNING_RIGHTS,
    TLS_RIGHTS,
    Right,
    check_cluster,
)
from tests.cluster import kit
from tests.cluster.access import Cluster, held
from tests.cluster.conftest import kustomization

pytestmark = pytest.mark.cluster

STEPS, RUNNER = "kubeflow", "pipeline-runner"
RULES = [
    ([""], ["secrets"], ["get"]),
    ([""], ["configmaps"], ["get", "watch", "list"]),
    (["argoproj.io"], ["workflows"], ["get", "list", "watch", "update", "patch"]),
    ([""], ["pods", "pods/exec", "pods/log", "services"], ["*"]),
    (["kubeflow.org"], ["*"], ["*"]),
    (["batch"], ["jobs"], ["*"]),
]
"""What the Role `pipeline-runner` of Kubeflow Pipelines 2.17 holds, without storage, Seldon and the executor's own."""


@pytest.fixture(scope="module")
def runner(cluster: Cluster) -> Iterator[str]:
    """The user as which Kubeflow Pipelines runs steps, with its own Role; made here where that is not installed."""
    name = {"name": RUNNER, "namespace": STEPS}
    rbac = "rbac.authorization.k8s.io"
    role = {"apiGroup": rbac, "kind": "Role", "name": RUNNER}
    rules = [{"apiGroups": groups, "resources": kinds, "verbs": verbs} for groups, kinds, verbs in RULES]
    with held(RUNNER):
        present = cluster.kubectl("get", "serviceaccount", RUNNER, "--namespace", STEPS, "--ignore-not-found")
        if not present:
            with suppress(AssertionError):
                cluster.kubectl("create", "namespace", STEPS)
            cluster.apply(
                {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": name},
                {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": name, "rules": rules},
                {
                    "apiVersion": f"{rbac}/v1",
                    "kind": "RoleBinding",
                    "metadata": name,
                    "roleRef": role,
                    "subjects": [{"kind": "ServiceAccount", **name}],
                },
            )
        yield f"system:serviceaccount:{STEPS}:{RUNNER}"
        if not present:
            for kind in ("rolebinding", "role", "serviceaccount"):
                cluster.kubectl("delete", kind, RUNNER, "--namespace", STEPS)


@pytest.fixture(scope="module", params=["kind", "kubeflow"])
def applied(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A namespace of its own in which was done what the README says: `install.sh secrets`, then `kubectl apply -k`."""
    namespace = f"slipway-way-{request.param}-{os.getpid()}"
    folder = tmp_path_factory.mktemp(f"way-{request.param}")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "KUBECONFIG": cluster.kubeconfig,
        "SLIPWAY_NAMESPACE": namespace,
        "SLIPWAY_STEPS_NAMESPACE": f"{namespace}-steps",
        "HF_TOKEN": "hf_of-the-tests",
    }
    cluster.kubectl("create", "namespace", f"{namespace}-steps")
    try:
        install = [str(kit.ROOT / "manifests" / "install.sh"), "secrets"]
        done = subprocess.run(install, env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert "hf_of-the-tests" not in done.stdout + done.stderr
        cluster.kubectl("apply", "-k", str(kustomization(cluster, folder, namespace, request.param)))
        yield namespace
    finally:
        for name in (namespace, f"{namespace}-steps"):
            cluster.kubectl("delete", "namespace", name, "--wait=false", "--ignore-not-found")


def allowed(cluster: Cluster, user: str, namespace: str, *rights: Right) -> list[Right]:
    """Those that the API server's own review lets a service account have."""
    api = client.AuthorizationV1Api(config.new_client_from_config(cluster.kubeconfig))
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}", "system:authenticated"]
    found = []
    for right in rights:
        asked = client.V1ResourceAttributes(namespace=namespace, **right._asdict())
        spec = client.V1SubjectAccessReviewSpec(user=user, groups=groups, resource_attributes=asked)
        if api.create_subject_access_review(client.V1SubjectAccessReview(spec=spec)).status.allowed:
            found.append(right)
    return found


def test_the_steps_of_both_kinds_have_every_right_that_they_ask_for(
    cluster: Cluster, applied: str, runner: str
) -> None:
    asked = [*RIGHTS, *FURTHER_RIGHTS, *SIGNING_RIGHTS, *TLS_RIGHTS]
    for user in (runner, f"system:serviceaccount:{applied}:slipway-pipeline"):
        assert allowed(cluster, user, applied, *asked) == asked, user
    assert allowed(cluster, runner, STEPS, *RIGHTS_OF_STEPS) == list(RIGHTS_OF_STEPS)


def test_the_steps_of_kubeflow_pipelines_get_no_further_rights(cluster: Cluster, applied: str, runner: str) -> None:
    refused = [
        Right("get", "", "secrets"),
        Right("create", "", "pods"),
        Right("create", "", "pods", "exec"),
        Right("patch", "kubeflow.org", "pytorchjobs"),
        Right("get", "", "configmaps"),
        Right("get", "batch", "jobs"),
        Right("patch", "batch", "cronjobs", name="slipway-signer"),
        Right("patch", "", "podtemplates", name="slipway-trainer"),
    ]
    assert allowed(cluster, runner, applied, *refused) == []


@pytest.fixture
def as_runner(cluster: Cluster, runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the cluster as a step of Kubeflow Pipelines does."""
    assert runner.endswith(RUNNER)
    token = cluster.kubectl("create", "token", RUNNER, "--namespace", STEPS).strip()
    used = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json"))
    used["users"] = [{"name": used["users"][0]["name"], "user": {"token": token}}]
    (tmp_path / "kubeconfig").write_text(json.dumps(used))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))


@pytest.mark.usefixtures("as_runner")
def test_the_preflight_of_a_run_that_was_submitted_finds_all_that_it_needs(cluster: Cluster, applied: str) -> None:
    check_cluster(ClusterSettings(namespace=applied, image=cluster.image), RegistrySettings(keys=f"job:{applied}"))
    with pytest.raises(BadInput, match="no service account absent"):
        check_cluster(ClusterSettings(namespace=applied, image=cluster.image, server_account="absent"))
    with pytest.raises(BadInput, match="no ServingRuntime absent"):
        check_cluster(ClusterSettings(namespace=applied, image=cluster.image, runtime="absent"))
    cluster.kubectl("delete", "configmap", "slipway-public-key", "--namespace", applied)
    with pytest.raises(BadInput, match="no ConfigMap slipway-public-key"):
        check_cluster(ClusterSettings(namespace=applied, image=cluster.image))


@pytest.mark.usefixtures("as_runner")
def test_without_the_binding_the_preflight_says_what_is_missing(cluster: Cluster, applied: str, runner: str) -> None:
    cluster.kubectl(
        "patch", "rolebinding", "slipway-pipeline", "--namespace", applied, "--type=json", f"--patch={PATCH}"
    )
    while allowed(cluster, runner, applied, *RIGHTS):  # the API server hears of it a moment later
        pass
    with pytest.raises(BadInput, match="does not let us create pytorchjobs"):
        check_cluster(ClusterSettings(namespace=applied, image=cluster.image))


PATCH = json.dumps([{"op": "remove", "path": "/subjects/1"}])


def test_the_steps_get_copies_of_their_secrets_and_the_keys_fit(cluster: Cluster, applied: str, tmp_path: Path) -> None:
    def data(kind: str, name: str, namespace: str) -> Any:
        return cluster.read(kind, name, "--namespace", namespace)["data"]

    steps = f"{applied}-steps"
    for name in ("slipway-s3", "slipway-client", "slipway-hub"):
        assert data("secret", name, steps) == data("secret", name, applied)
    copied = {item["metadata"]["name"] for item in cluster.read("secrets", "--namespace", steps)["items"]}
    assert copied == {"slipway-s3", "slipway-client", "slipway-hub"}
    assert set(data("secret", "slipway-signing", applied)) == {"private.pem"}
    assert set(data("secret", "slipway-audit", applied)) == {"audit.key"}
    assert set(data("secret", "slipway-hub", steps)) == {"HF_TOKEN"}
    public = data("configmap", "slipway-public-key", steps)["public.pem"]
    (tmp_path / "public.pem").write_text(public)
    assert signing.identity(tmp_path / "public.pem").startswith("sha256:")
