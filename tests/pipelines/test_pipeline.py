"""The compiled pipeline: what the Kubeflow Pipelines UI takes, with documented parameters and nothing that is local."""

from pathlib import Path

import pytest
import yaml
from kfp import compiler

from components.image import IMAGE
from pipelines.pipeline import SECTIONS, VALUES, pipeline


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    spec: dict[str, object] = next(yaml.safe_load_all(path.read_text("utf-8")))
    return spec


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


def test_nothing_of_this_machine_is_in_it(compiled) -> None:
    text = yaml.safe_dump(compiled)
    for place in (str(Path.home()), str(Path(__file__).parents[2])):
        assert f"{place}/" not in text
