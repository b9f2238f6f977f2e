"""The compiled pipeline: what the Kubeflow Pipelines UI takes, with documented parameters and nothing that is local."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from components.image import IMAGE
from pipelines.pipeline import SECTIONS, VALUES, pipeline


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    return list(yaml.safe_load_all(path.read_text("utf-8")))


@pytest.fixture(scope="module")
def compiled(documents: list[dict[str, Any]]) -> dict[str, Any]:
    return documents[0]


@pytest.fixture(scope="module")
def pods(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """What is asked for each step's pod beside image and command, by the step's name."""
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): executor for name, executor in executors.items()}


def test_every_parameter_has_a_type_a_default_and_a_description(compiled) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    for name, parameter in parameters.items():
        assert parameter["parameterType"] in ("STRING", "STRUCT"), name
        assert parameter["isOptional"], name
        assert parameter.get("description"), name
    for section in SECTIONS:
        assert parameters[section]["defaultValue"] == VALUES[section]
    assert "passes over the training split at most (epochs)" in parameters["train"]["description"]


def test_every_step_runs_in_the_one_image(compiled) -> None:
    executors = compiled["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {IMAGE}


def test_cached_steps_name_the_version_of_their_code(compiled) -> None:
    executors = compiled["deploymentSpec"]["executors"]
    for step in ("prepare-data", "plan", "cross-validate", "choose", "train", "compress"):
        names = [variable["name"] for variable in executors[f"exec-{step}"]["container"]["env"]]
        assert names == ["SLIPWAY_CODE_VERSION"]


def test_nothing_of_this_machine_is_in_it(documents) -> None:
    text = yaml.safe_dump_all(documents)
    for place in (str(Path.home()), str(Path(__file__).parents[2])):
        assert f"{place}/" not in text


def test_the_defaults_are_places_that_pods_reach(compiled) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter["defaultValue"] for name, parameter in parameters.items()}
    assert not re.search(r"~/|127\.0\.0\.1|localhost", json.dumps(defaults))
    assert defaults["target"] == "auto"
    assert defaults["tracking_uri"].startswith("http://mlflow.")
    for store in (defaults["registry"]["store"], defaults["cluster"]["store"], defaults["record"]):
        assert store.startswith("s3://")
    assert defaults["registry"]["keys"].startswith("/etc/slipway/")


def test_every_step_gets_the_store_s_credentials_and_its_run_from_the_cluster(compiled, pods) -> None:
    assert pods.keys() == {name.removeprefix("exec-") for name in compiled["deploymentSpec"]["executors"]}
    for pod in pods.values():
        needed, optional = pod["secretAsEnv"][:2]
        assert {needed["secretName"], optional["secretName"]} == {"slipway-s3"}
        assert [item["envVar"] for item in needed["keyToEnv"]] == ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        assert not needed["optional"]
        assert optional["optional"]
        assert "AWS_ENDPOINT_URL" in [item["envVar"] for item in optional["keyToEnv"]]
        assert pod["fieldPathAsEnv"] == [{"name": "SLIPWAY_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
        assert pod["securityContext"] == {"runAsNonRoot": True}


def test_the_signing_key_is_in_the_pod_that_signs_and_in_no_other(pods) -> None:
    holders = {
        name: volume["mountPath"]
        for name, pod in pods.items()
        for volume in pod.get("secretAsVolume", [])
        if volume["secretName"] == "slipway-signing"
    }
    assert holders == {"register": "/etc/slipway/signing"}
    asked = {name for name, pod in pods.items() if "slipway-client" in [s["secretName"] for s in pod["secretAsEnv"]]}
    assert asked == {"rollout"}
    (public,) = pods["rollout"]["configMapAsVolume"]
    assert (public["configMapName"], public["mountPath"]) == ("slipway-public-key", "/etc/slipway/keys")


def test_the_hub_s_token_is_in_the_pods_that_load_encoders_or_data_where_there_is_one(pods) -> None:
    asked = {
        name: (secret["optional"], [item["envVar"] for item in secret["keyToEnv"]])
        for name, pod in pods.items()
        for secret in pod["secretAsEnv"]
        if secret["secretName"] == "slipway-hub"
    }
    assert asked.keys() == {"preflight", "prepare-data", "plan", "cross-validate", "train"}
    assert all(found == (True, ["HF_TOKEN", "HF_ENDPOINT"]) for found in asked.values())


def test_no_secret_of_the_environment_is_compiled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SLIPWAY_API_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "never-shown")
    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
    assert "never-shown" not in (tmp_path / "pipeline.yaml").read_text("utf-8")


def test_every_step_says_what_it_needs_and_its_limit(compiled) -> None:
    for name, executor in compiled["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        assert resources["cpuRequest"] <= resources["cpuLimit"], name
        assert resources["memoryRequest"] <= resources["memoryLimit"], name


def test_every_step_keeps_the_run_s_record(compiled) -> None:
    for name, component in compiled["components"].items():
        if "executorLabel" in component and name not in ("comp-collect", "comp-no-scores"):
            assert "record" in component["inputDefinitions"]["parameters"], name


def test_no_placeholder_is_a_default_since_kubeflow_does_not_resolve_those(compiled) -> None:
    assert not re.search(r"\{\{\$\.", json.dumps(compiled["root"]["inputDefinitions"]))
