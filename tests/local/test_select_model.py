"""The step select_model as it runs in a pipeline, by kfp.local."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler, dsl, local

from components.dataset import TextDataset
from components.image import IMAGE
from components.select_model.component import select_model

pytestmark = pytest.mark.local

Run = Callable[[list[dict[str, Any]]], Path]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def before(folder: str, dataset: dsl.Output[dsl.Dataset], results: dsl.Output[dsl.Artifact]) -> None:
    """Stands for prepare_data."""
    import json
    import shutil
    from pathlib import Path

    shutil.copytree(folder, dataset.path)
    Path(results.path).write_text(json.dumps({"prepare_data": {"rows": 1}}), "utf-8")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def after(choice: dict, results: dsl.Input[dsl.Artifact], output: str) -> None:
    """Stands for train."""
    import json
    from pathlib import Path

    record = {"choice": choice, "results": json.loads(Path(results.path).read_text("utf-8"))}
    Path(output).write_text(json.dumps(record), "utf-8")


@dsl.pipeline(name="around")
def around(folder: str, settings: dict, train_settings: dict, output: str) -> None:
    prepared = before(folder=folder)
    selected = select_model(
        dataset=prepared.outputs["dataset"],
        settings=settings,
        train_settings=train_settings,
        results_before=prepared.outputs["results"],
    )
    after(choice=selected.outputs["choice"], results=selected.outputs["results"], output=output)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_encoder: Path, small_dataset: TextDataset) -> Run:
    """Runs the pipeline with candidates; returns the run's folder, in which `output.json` is what came out."""
    monkeypatch.setenv("SLIPWAY_RUN", str(tmp_path))
    train = {"encoder": str(tiny_encoder), "max_length": 32, "epochs": 1, "learning_rate": 2e-3}

    def run(candidates: list[dict[str, Any]]) -> Path:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "artifacts"))
        around(
            folder=str(small_dataset.folder),
            settings={"candidates": candidates, "folds": 2},
            train_settings=train,
            output=str(tmp_path / "output.json"),
        )
        return tmp_path

    return run


def test_candidates_are_compared_and_the_choice_is_handed_on(run: Run) -> None:
    folder = run([{"name": 'the user\'s "whole" model'}, {"name": "half", "layers": 1}])
    output = json.loads((folder / "output.json").read_text())
    result = output["results"]["select_model"]
    assert output["results"]["prepare_data"] == {"rows": 1}
    assert [len(candidate["macro_f1"]) for candidate in result["candidates"]] == [2, 2]
    assert output["choice"] == result["choice"] == ({"layers": 1} if result["chosen"] == "half" else {})
    assert list(folder.glob("artifacts/*/choose/html"))
    events = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    kinds = [event["kind"] for event in events if event["kind"] != "progress"]
    assert kinds == ["started", "finished"], "all parts are one step"


def test_a_single_candidate_starts_no_training(run: Run) -> None:
    folder = run([{"name": "only", "layers": 1}])
    output = json.loads((folder / "output.json").read_text())
    assert output["choice"] == {"layers": 1}
    assert not output["results"]["select_model"]["compared"]
    tasks = {path.name for path in folder.glob("artifacts/*/*")}
    assert "choose" in tasks
    assert not any("cross-validate" in task for task in tasks)


def test_what_one_training_cannot_use_is_recorded_as_bad_input(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        run([{"name": "whole"}, {"name": "long", "max_length": 400}])
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert (failure["step"], failure["kind"], failure["exit_code"]) == ("select_model", "BadInput", 2)
    assert "cannot classify texts of 400 tokens" in failure["message"]


def test_on_a_cluster_a_condition_guards_the_trainings(tmp_path: Path) -> None:
    compiler.Compiler().compile(around, str(tmp_path / "pipeline.yaml"))
    specification = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
    dags = {name: part["dag"]["tasks"] for name, part in specification["components"].items() if "dag" in part}
    guarded = [task for tasks in dags.values() for task in tasks.values() if "triggerPolicy" in task]
    assert len(guarded) == 2
    (loop,) = [task for tasks in dags.values() for task in tasks.values() if "iteratorPolicy" in task]
    assert loop["iteratorPolicy"] == {"parallelismLimit": 2}
