"""The compiled pipeline: what the Kubeflow Pipelines UI takes, with documented parameters and nothing that is local."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from slipway.components.platforms.container_image import HUB_FOLDER, IMAGE
from slipway.pipelines import pipeline_parameters
from slipway.pipelines.pipeline import pipeline
from slipway.pipelines.settings import SlipwaySettings


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


def test_the_form_is_one_that_a_person_fills_in(compiled: dict[str, Any]) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    assert parameters.keys() == {*pipeline_parameters.FIELDS, pipeline_parameters.REST}
    for name, parameter in parameters.items():
        assert parameter["isOptional"], name
        assert parameter.get("description"), name
    kinds = {name: parameter["parameterType"] for name, parameter in parameters.items()}
    assert kinds["epochs"] == kinds["processes"] == "NUMBER_INTEGER"
    assert (kinds["min_macro_f1"], kinds["canary_steps"], kinds["settings"]) == ("NUMBER_DOUBLE", "STRING", "STRUCT")
    assert parameters["settings"]["defaultValue"] == {}


def test_the_form_s_defaults_are_those_of_the_settings(compiled: dict[str, Any]) -> None:
    parameters = compiled["root"]["inputDefinitions"]["parameters"]
    values = {name: parameter["defaultValue"] for name, parameter in parameters.items()}
    assert values == pipeline_parameters.filled(SlipwaySettings(), SlipwaySettings())


def test_every_step_runs_in_the_one_image(compiled: dict[str, Any]) -> None:
    executors = compiled["deploymentSpec"]["executors"].values()
    assert {executor["container"]["image"] for executor in executors} == {IMAGE}


def test_the_program_of_a_step_is_in_the_image_and_not_in_the_pipeline(compiled: dict[str, Any]) -> None:
    for name, executor in compiled["deploymentSpec"]["executors"].items():
        *program, executor_module, place = executor["container"]["command"]
        assert program == ["python3", "-m", "slipway.components.step_runtime.step_program"], name
        assert executor_module == "kfp.dsl.executor_main"
        module, _, function = place.partition(":")
        assert callable(getattr(importlib.import_module(module), function).python_func)


def test_nothing_of_this_machine_is_in_it(documents: list[dict[str, Any]]) -> None:
    text = yaml.safe_dump_all(documents)
    for place in (str(Path.home()), str(Path(__file__).parents[2])):
        assert f"{place}/" not in text


def test_every_step_gets_the_store_s_credentials_and_its_run_from_the_cluster(
    compiled: dict[str, Any], pods: dict[str, Any]
) -> None:
    assert pods.keys() == {name.removeprefix("exec-") for name in compiled["deploymentSpec"]["executors"]}
    for pod in pods.values():
        (credentials,) = [item for item in pod["secretAsVolume"] if item["secretName"] == "slipway-s3"]
        assert credentials["mountPath"] == "/etc/slipway/credentials"
        assert credentials["optional"], "a step says better than Kubernetes what is missing"
        assert pod["fieldPathAsEnv"] == [{"name": "SLIPWAY_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
        assert pod["securityContext"] == {"runAsNonRoot": True}


def test_the_signing_key_is_in_no_pod_of_a_step_and_the_api_key_in_the_rollout_s_alone(pods: dict[str, Any]) -> None:
    mounted = {volume["secretName"] for pod in pods.values() for volume in pod.get("secretAsVolume", [])}
    assert mounted == {"slipway-s3", "slipway-hub", "slipway-encryption"}
    asked = {
        name
        for name, pod in pods.items()
        if "slipway-client" in [secret["secretName"] for secret in pod.get("secretAsEnv", [])]
    }
    assert asked == {"rollout"}
    for name in ("evaluate", "rollout"):
        (public,) = pods[name]["configMapAsVolume"]
        assert (public["configMapName"], public["mountPath"]) == ("slipway-public-key", "/etc/slipway/keys")


def test_the_hub_s_token_is_in_the_pods_that_load_encoders_or_data_where_there_is_one(pods: dict[str, Any]) -> None:
    asked = {
        name: secret["mountPath"]
        for name, pod in pods.items()
        for secret in pod["secretAsVolume"]
        if secret["secretName"] == "slipway-hub" and secret["optional"]
    }
    assert asked == dict.fromkeys(("preflight", "prepare-data", "cross-validate", "train"), HUB_FOLDER)


def test_no_secret_of_the_environment_is_compiled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SLIPWAY_API_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "never-shown")
    compiler.Compiler().compile(pipeline, str(tmp_path / "pipeline.yaml"))
    assert "never-shown" not in (tmp_path / "pipeline.yaml").read_text("utf-8")


def test_every_step_says_what_it_needs_and_its_limit(compiled: dict[str, Any]) -> None:
    for name, executor in compiled["deploymentSpec"]["executors"].items():
        resources = executor["container"]["resources"]
        assert resources["cpuRequest"] <= resources["cpuLimit"], name
        assert resources["memoryRequest"] <= resources["memoryLimit"], name


def test_no_placeholder_is_a_default_since_kubeflow_does_not_resolve_those(compiled: dict[str, Any]) -> None:
    assert not re.search(r"\{\{\$\.", json.dumps(compiled["root"]["inputDefinitions"]))
