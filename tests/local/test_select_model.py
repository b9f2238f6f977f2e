"""The step select_model in a pipeline by kfp.local, where a training of one candidate fails."""

# kfp has no types, and takes no parametrised dict in an annotation:
# mypy: disable-error-code="untyped-decorator, type-arg"

import builtins
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl, local

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.learning.settings import TrainSettings
from slipway.components.select_model import step
from slipway.components.select_model.settings import SelectSettings
from slipway.components.step_runtime.step_request import StepRequest
from slipway.components.train.component import train
from slipway.pipelines.pipeline import select_model
from tests.local.prepared import before

pytestmark = pytest.mark.local

Run = Callable[[list[dict[str, Any]]], None]


@dsl.pipeline(name="around")
def around(folder: str, tasks: list[dict], request: dict) -> None:
    prepared = before(folder=folder)
    scores = select_model(dataset=prepared.outputs["dataset"], tasks=tasks, version="1")
    train(dataset=prepared.outputs["dataset"], scores=scores.output, request=request, version="1")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder: Path, small_dataset: TextDataset) -> Run:
    """Runs the pipeline with candidates, in the run's folder."""
    monkeypatch.setattr(builtins, "print", print)  # kfp.local wraps it in each thread of a loop, and may leave it so
    monkeypatch.setenv("SLIPWAY_RUN", str(tmp_path))
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)  # for the program of `before`
    settings = TrainSettings(
        encoder=str(tiny_encoder), max_length=32, epochs=1, learning_rate=2e-3, processes=1, threads_per_process=1
    )

    def run(candidates: list[dict[str, Any]]) -> None:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "artifacts"))
        select = SelectSettings(candidates=candidates, folds=2)
        request = StepRequest(
            settings=settings.model_dump(),
            select=select.model_dump(),
            tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
            target="local",
        )
        tasks = [task.model_dump(mode="json") for task in step.plan(select, settings)]
        around(folder=str(small_dataset.folder), tasks=tasks, request=request.plain())

    return run


def test_what_one_training_cannot_use_is_recorded_as_bad_input(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run([{"name": "whole"}, {"name": "long", "max_length": 400}])
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert (failure["step"], failure["kind"], failure["exit_code"]) == ("select_model", "BadInput", 2)
    assert "cannot classify texts of 400 tokens" in failure["message"]
