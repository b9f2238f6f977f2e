"""What the policies of manifests/base/admission take to be usual is what the code makes; images have one place."""

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.container_image import SIGNING_FOLDER
from slipway.components.register import signer, signing_job
from slipway.components.train.job_manifest import job_manifest

MANIFESTS = Path(__file__).parents[2] / "manifests"
DIGEST = f"sha256:{'a' * 64}"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The overlay kubeflow with images by digest."""
    folder = tmp_path_factory.mktemp("digests")
    images = [
        {"name": "slipway/slipway-python", "newName": "registry.example.com/slipway", "digest": DIGEST},
        {"name": "slipway/slipway-serving", "newName": "registry.example.com/slipway-serving", "digest": DIGEST},
        {"name": "versity/versitygw", "digest": DIGEST},
    ]
    resources = [os.path.relpath(MANIFESTS / "overlays" / "kubeflow", folder)]
    (folder / "kustomization.yaml").write_text(json.dumps({"resources": resources, "images": images}))
    text = subprocess.run(["kubectl", "kustomize", str(folder)], check=True, capture_output=True, text=True).stdout
    return list(yaml.safe_load_all(text))


def found(rendered: list[dict[str, Any]], kind: str, name: str) -> Any:
    """One of the objects."""
    (item,) = [item for item in rendered if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return item


def images_in(value: Any) -> list[str]:
    """Every `image` in an object, however deep."""
    if isinstance(value, list):
        return [image for item in value for image in images_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value["image"]] if isinstance(value.get("image"), str) else []
    return own + [image for item in value.values() for image in images_in(item)]


def test_a_digest_that_an_overlay_names_is_that_of_every_pod_and_of_what_the_policies_admit(
    rendered: list[dict[str, Any]],
) -> None:
    images = {(item["kind"], image) for item in rendered for image in images_in(item)}
    assert {kind for kind, _ in images} == {"Deployment", "ServingRuntime", "PodTemplate", "CronJob"}
    assert [image for _, image in images if not image.endswith(f"@{DIGEST}")] == []


def test_a_trainer_is_as_the_template_says(rendered: list[dict[str, Any]]) -> None:
    usual = found(rendered, "PodTemplate", "slipway-trainer")["template"]["spec"]
    job = job_manifest("t", "t", "s3://slipway/t", TrainSettings(), ClusterSettings(), "slipway")
    pod = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    for name in ("serviceAccountName", "automountServiceAccountToken", "securityContext"):
        assert pod[name] == usual[name]
    for name in ("command", "securityContext", "envFrom"):
        assert pod["containers"][0][name] == usual["containers"][0][name]


def test_model_servers_are_what_the_policy_admits(rendered: list[dict[str, Any]]) -> None:
    admitted, settings = found(rendered, "ConfigMap", "slipway-serving")["data"], ClusterSettings()
    assert admitted["account"] == settings.server_account
    runtimes = {settings.model_copy(update={"protocol": name}).serving_runtime for name in ("rest", "grpc")}
    assert set(admitted["runtimes"].split()) == runtimes
    assert {item["metadata"]["name"] for item in rendered if item["kind"] == "ServingRuntime"} == runtimes


def test_the_signer_is_alone_with_the_key_runs_its_program_and_never_by_itself(rendered: list[dict[str, Any]]) -> None:
    job = found(rendered, "CronJob", signing_job.SIGNER)["spec"]
    assert job["suspend"]
    pod = job["jobTemplate"]["spec"]["template"]
    assert pod["metadata"]["labels"].items() >= signing_job.LABELS.items()
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["python", "-m", signer.__name__]
    assert find_spec(signer.__name__)
    (variable,) = container["env"]
    assert variable["name"] == signer.FILES_VARIABLE
    assert signing_job.FILES in variable["valueFrom"]["fieldRef"]["fieldPath"]
    assert {"name": "signing", "mountPath": SIGNING_FOLDER, "readOnly": True} in container["volumeMounts"]
    holders = [
        item["metadata"]["name"] for item in rendered if "'secretName': 'slipway-signing'" in repr(item.get("spec"))
    ]
    assert holders == [signing_job.SIGNER]


def test_every_policy_refuses_what_it_cannot_look_at_and_is_bound(rendered: list[dict[str, Any]]) -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in rendered if item["kind"].endswith("Policy")}
    policies = {name: spec for name, spec in policies.items() if "validations" in spec}
    bindings = [item["spec"] for item in rendered if item["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert {spec["policyName"] for spec in bindings} == set(policies)
    assert len(policies) == 6
    label = {"slipway.dev/admission": "steps"}
    for spec in bindings:
        assert spec["validationActions"] == ["Deny"]
        assert spec["matchResources"]["namespaceSelector"]["matchLabels"] == label
        assert spec.get("paramRef", {}).get("parameterNotFoundAction", "Deny") == "Deny"
    assert all(spec["failurePolicy"] == "Fail" for spec in policies.values())
    (namespace,) = [item for item in rendered if item["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"].items() >= label.items()
