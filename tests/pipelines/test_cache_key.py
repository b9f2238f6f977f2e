"""The key of the backend's cache: it changes with inputs, and not with the environment."""

import pytest

from tests.pipelines.kubeflow import small as good
from tests.pipelines.kubeflow.cache import fingerprint
from tests.pipelines.kubeflow.compiled import Compiled, Task, compile_pipeline
from tests.pipelines.kubeflow.values import Run, resolve, root_values


@pytest.fixture(scope="module")
def small() -> Compiled:
    return compile_pipeline(good.small)


def _train(compiled: Compiled) -> Task:
    return compiled.tasks_of("comp-exit-handler-1")["train"]


def _key(compiled: Compiled, version: str = "1", dataset: str = "12", run: Run | None = None) -> str:
    run = run or Run(outputs={"preflight.version": version})
    inner = resolve(compiled, run, compiled.tasks_of("root")["exit-handler-1"], root_values(compiled, run))
    return fingerprint(
        compiled, _train(compiled), resolve(compiled, run, _train(compiled), inner), {"dataset": dataset}
    )


def test_the_same_task_is_found_again(small: Compiled) -> None:
    assert _key(small) == _key(small.copy())


def test_the_version_that_a_step_is_given_is_in_the_key(small: Compiled) -> None:
    assert _key(small, version="1") != _key(small, version="2")


def test_an_environment_variable_is_not(small: Compiled) -> None:
    other = small.copy()
    other.executors["exec-train"]["container"]["env"] = [{"name": "SLIPWAY_CODE_VERSION", "value": "2"}]
    other.kubernetes["exec-train"]["secretAsEnv"][0]["secretName"] = "another"
    assert _key(other) == _key(small)


def test_neither_are_names_descriptions_and_resources(small: Compiled) -> None:
    other = small.copy()
    other.components["comp-train"]["inputDefinitions"]["parameters"]["settings"]["description"] = "how to train"
    other.executors["exec-train"]["container"]["resources"] = {"cpuLimit": 4.0}
    other.spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]["train"]["taskInfo"]["name"] = "fine-tune"
    assert _key(other) == _key(small)


@pytest.mark.parametrize("field", ["image", "command", "args"])
def test_image_and_source_are(small: Compiled, field: str) -> None:
    other = small.copy()
    container = other.executors["exec-train"]["container"]
    container[field] = "slipway:2" if field == "image" else [*container[field], "more"]
    assert _key(other) != _key(small)


def test_an_artifact_that_is_made_anew_is_another_one(small: Compiled) -> None:
    assert _key(small, dataset="12") != _key(small, dataset="13")


def test_a_declared_output_is_in_the_key(small: Compiled) -> None:
    other = small.copy()
    other.components["comp-train"]["outputDefinitions"]["parameters"]["Output"]["parameterType"] = "STRING"
    assert _key(other) != _key(small)
