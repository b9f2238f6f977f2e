"""The manifests on a real API server: valid, idempotent, with few rights, and what they run is at work."""

import base64
import io
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.client import Config
from botocore.exceptions import ClientError
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from slipway.components.platforms import storage
from tests.cluster.conftest import Platform

pytestmark = pytest.mark.cluster

PIPELINE, TRAINER, SERVER = (f"slipway-{name}" for name in ("pipeline", "trainer", "server"))
ALLOWED = [
    ("create", "pytorchjobs.kubeflow.org"),
    ("list", "pytorchjobs.kubeflow.org"),
    ("delete", "pytorchjobs.kubeflow.org"),
    ("list", "workloads.kueue.x-k8s.io"),
    ("watch", "pods"),
    ("get", "pods/log"),
    ("create", "inferenceservices.serving.kserve.io"),
    ("patch", "inferenceservices.serving.kserve.io"),
    ("delete", "inferenceservices.serving.kserve.io"),
    ("get", "pods/proxy"),
    ("get", "services.serving.knative.dev"),
    ("create", "jobs.batch"),
    ("delete", "jobs.batch"),
    ("get", "cronjobs.batch/slipway-signer"),
    ("update", "leases.coordination.k8s.io"),
]
FORBIDDEN = [
    ("get", "secrets"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("delete", "pods"),
    ("create", "deployments.apps"),
    ("patch", "servingruntimes.serving.kserve.io"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("impersonate", "serviceaccounts"),
    ("patch", "pytorchjobs.kubeflow.org"),
    ("patch", "workloads.kueue.x-k8s.io"),
    ("get", "pods"),
    ("get", "jobs.batch"),
    ("patch", "jobs.batch"),
    ("get", "cronjobs.batch"),
    ("patch", "cronjobs.batch/slipway-signer"),
    ("create", "cronjobs.batch"),
    ("delete", "leases.coordination.k8s.io"),
    ("patch", "podtemplates/slipway-trainer"),
    ("patch", "configmaps/slipway-serving"),
    ("get", "revisions.serving.knative.dev"),
    ("create", "httproutes.gateway.networking.k8s.io"),
    ("patch", "validatingadmissionpolicies.admissionregistration.k8s.io"),
]


@pytest.mark.parametrize("overlay", ["kind", "kubeflow"])
def test_the_api_server_accepts_every_object_of_an_overlay(platform: Platform, overlay: str, tmp_path: Path) -> None:
    cluster, namespace = platform.cluster, f"slipway-dry-{overlay}"
    folder = platform.kustomization(overlay, tmp_path, namespace)
    cluster.kubectl("create", "namespace", namespace)
    try:
        server_side = ("--server-side", "--force-conflicts")  # policies are the whole cluster's, and applied already
        said = cluster.kubectl("apply", *server_side, "--dry-run=server", "-k", str(folder))
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    objects = cluster.kubectl("kustomize", str(folder)).split("\n---\n")
    assert said.count("serverside-applied") == len(objects) >= 15


def test_applying_twice_changes_nothing(platform: Platform) -> None:
    apply = ("apply", "-k", str(platform.folder))
    platform.cluster.kubectl(*apply)  # what belongs to the whole cluster may be another test's by now
    before = versions(platform)
    said = platform.cluster.kubectl(*apply).splitlines()
    assert [line for line in said if not line.endswith(" unchanged")] == []
    assert versions(platform) == before


def versions(platform: Platform) -> dict[str, int]:
    """How often the wish for each object changed; its status may change at any time."""
    kinds = "serviceaccounts,roles,rolebindings,services,deployments,pvc,networkpolicies,servingruntimes"
    objects = platform.read(kinds)["items"]
    return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"].get("generation", 0) for item in objects}


@pytest.mark.parametrize(("verb", "resource"), ALLOWED)
def test_pipeline_steps_have_the_rights_that_they_need(platform: Platform, verb: str, resource: str) -> None:
    assert platform.may(PIPELINE, verb, resource)


@pytest.mark.parametrize(("verb", "resource"), FORBIDDEN)
def test_pipeline_steps_have_no_further_rights(platform: Platform, verb: str, resource: str) -> None:
    assert not platform.may(PIPELINE, verb, resource)


@pytest.mark.parametrize(("verb", "resource"), ALLOWED)
def test_pipeline_steps_have_no_rights_in_other_namespaces(platform: Platform, verb: str, resource: str) -> None:
    assert not platform.may(PIPELINE, verb, resource, namespace="default")


def test_pipeline_steps_may_find_the_ingress_gateway_wherever_it_is(platform: Platform) -> None:
    assert platform.may(PIPELINE, "list", "services", namespace="kourier-system")
    assert platform.may(PIPELINE, "get", "configmap/inferenceservice-config", namespace="kserve")
    assert not platform.may(PIPELINE, "get", "services", namespace="kourier-system")
    assert not platform.may(PIPELINE, "get", "configmaps", namespace="kserve")


@pytest.mark.parametrize("account", [TRAINER, SERVER, "slipway-platform", "slipway-signer"])
@pytest.mark.parametrize(("verb", "resource"), [*ALLOWED, ("get", "secrets"), ("get", "configmaps")])
def test_pods_that_only_compute_have_no_rights(platform: Platform, account: str, verb: str, resource: str) -> None:
    assert not platform.may(account, verb, resource)


def test_no_manifest_holds_a_secret(platform: Platform) -> None:
    text = platform.cluster.kubectl("kustomize", str(platform.folder))
    assert "kind: Secret" not in text
    assert "name: slipway-s3-trainers" in text


def test_containers_run_as_a_user_without_rights_on_a_read_only_disk(platform: Platform) -> None:
    pods = platform.read("pods", "--selector=app.kubernetes.io/name in (mlflow, s3)")["items"]
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert not pod["spec"].get("automountServiceAccountToken", False) or pod["spec"]["serviceAccountName"]
        for container in pod["spec"]["containers"] + pod["spec"].get("initContainers", []):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], container["name"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not context["allowPrivilegeEscalation"]


def test_the_image_is_no_root_and_cannot_write_outside_its_volumes(platform: Platform) -> None:
    look = "id -u; touch /opt/slipway/x || echo refused; touch /tmp/x && echo written"
    said = platform.cluster.kubectl(
        "exec", "--namespace", platform.namespace, "deployment/mlflow", "--", "sh", "-c", look
    )
    assert said.split() == ["65532", "refused", "written"]


def test_mlflow_keeps_runs_and_s3_keeps_files(platform: Platform, tmp_path: Path, store: str) -> None:
    client = MlflowClient(platform.mlflow)
    run = client.create_run(client.create_experiment(f"manifests-{uuid.uuid4().hex[:8]}"))
    client.log_metric(run.info.run_id, "accuracy", 0.5)
    assert client.get_run(run.info.run_id).data.metrics == {"accuracy": 0.5}

    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "text").write_text("kept")
    storage.upload_folder(tmp_path / "there", f"{store}/folder")
    storage.download_folder(f"{store}/folder", tmp_path / "back")
    assert (tmp_path / "back" / "text").read_text() == "kept"


def test_s3_takes_uploads_in_parts_and_keeps_what_clients_say_of_an_object(store: str) -> None:
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    client = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    content = os.urandom(20 * 2**20)  # over boto3's threshold of 8 MB
    client.upload_fileobj(
        io.BytesIO(content), bucket, f"{prefix}/whole", ExtraArgs={"ContentType": "text/x", "Metadata": {"of": "tests"}}
    )
    found = client.get_object(Bucket=bucket, Key=f"{prefix}/whole")
    assert found["Body"].read() == content
    assert (found["ContentType"], found["Metadata"]) == ("text/x", {"of": "tests"})
    client.put_object(Bucket=bucket, Key=f"{prefix}/whole", Body=b"replaced")
    replaced = client.head_object(Bucket=bucket, Key=f"{prefix}/whole")
    assert (replaced["ContentLength"], replaced["Metadata"]) == (8, {})
    (listed,) = client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    assert (listed["Key"], listed["ETag"]) == (f"{prefix}/whole", replaced["ETag"])

    place = {"Bucket": bucket, "Key": f"{prefix}/aborted"}
    upload = client.create_multipart_upload(**place)["UploadId"]
    client.upload_part(**place, UploadId=upload, PartNumber=1, Body=content[: 6 * 2**20])
    assert [part["Size"] for part in client.list_parts(**place, UploadId=upload)["Parts"]] == [6 * 2**20]
    client.abort_multipart_upload(**place, UploadId=upload)
    assert upload not in [item["UploadId"] for item in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
    assert [item["Key"] for item in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]] == [
        f"{prefix}/whole"
    ]


def test_the_registry_survives_the_loss_of_mlflow_s_pod(platform: Platform) -> None:
    client = MlflowClient(platform.mlflow)
    name = f"kept-{uuid.uuid4().hex[:8]}"
    client.create_registered_model(name)
    client.create_model_version(name, "s3://slipway/bundle")
    client.set_registered_model_alias(name, "champion", "1")

    kubectl = platform.cluster.kubectl
    kubectl("delete", "pod", "--selector=app.kubernetes.io/name=mlflow", "--namespace", platform.namespace)
    kubectl("rollout", "status", "deployment/mlflow", "--namespace", platform.namespace, "--timeout=300s")

    assert answered(lambda: client.get_model_version_by_alias(name, "champion")).source == "s3://slipway/bundle"


def answered(ask: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What MLflow answers, once the way to its new pod is there."""
    end = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except MlflowException:
            if time.monotonic() > end:
                raise
            time.sleep(1.0)


def test_each_role_opens_in_the_store_what_it_needs_and_no_more(platform: Platform, store: str) -> None:
    bucket, _, prefix = store.removeprefix("s3://").partition("/")
    steps = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
    bundle, data = f"{prefix}/bundles/messages/1/model.onnx", f"{prefix}/trainings/{'0' * 16}/dataset/train.parquet"
    for key in (bundle, data):
        steps.put_object(Bucket=bucket, Key=key, Body=b"x")
    for role, own, others in (("servers", bundle, data), ("trainers", data, bundle)):
        secret = platform.read("secret", f"slipway-s3-{role}")["data"]
        access, key = (
            base64.b64decode(secret[f"AWS_{name}"]).decode() for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY")
        )
        client = boto3.client(
            "s3",
            aws_access_key_id=access,
            aws_secret_access_key=key,
            config=Config(s3={"addressing_style": "path"}),
        )
        assert client.get_object(Bucket=bucket, Key=own)["Body"].read() == b"x"
        with pytest.raises(ClientError, match="AccessDenied"):
            client.get_object(Bucket=bucket, Key=others)
        for place in (own, others):
            with pytest.raises(ClientError, match="AccessDenied"):
                client.put_object(Bucket=bucket, Key=place, Body=b"evil")


def test_mlflow_asks_for_a_login_and_trainers_cannot_touch_the_registry(platform: Platform) -> None:
    def status(name: str, password: str) -> int:
        where = f"{platform.mlflow}/api/2.0/mlflow/registered-models/search"
        return httpx.get(where, auth=(name, password) if name else None, trust_env=False, timeout=30.0).status_code

    def login(secret: str) -> tuple[str, str]:
        data = platform.read("secret", secret)["data"]
        name, password = (
            base64.b64decode(data[f"MLFLOW_TRACKING_{what}"]).decode() for what in ("USERNAME", "PASSWORD")
        )
        return name, password

    assert status("", "") == status("admin", "guessed") == httpx.codes.UNAUTHORIZED
    assert status(*login("slipway-s3")) == httpx.codes.OK
    name, password = login("slipway-s3-trainers")
    made = httpx.post(
        f"{platform.mlflow}/api/2.0/mlflow/registered-models/create",
        json={"name": "evil"},
        auth=(name, password),
        trust_env=False,
        timeout=30.0,
    )
    assert made.status_code == httpx.codes.FORBIDDEN
