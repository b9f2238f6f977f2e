"""A component's surroundings: results are handed on, failures become one record, output goes to the step's log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from components import stage
from components.errors import BadInput
from components.train.settings import TrainSettings


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("SLIPWAY_RUN", str(folder))
    return folder


def test_results_grow_from_step_to_step(tmp_path: Path, run_folder: Path) -> None:
    first, second = tmp_path / "a" / "first.json", tmp_path / "b" / "second.json"
    with stage.running("one", None, str(first), str(tmp_path / "one.html")) as current:
        current.finish({"value": 1}, "<p>first</p>")
    with stage.running("two", str(first), str(second), str(tmp_path / "two.html")) as current:
        current.finish({"value": 2}, "<p>second</p>")
    expected = {"one": {"value": 1}, "two": {"value": 2}}
    assert json.loads(second.read_text()) == expected
    assert stage.record(run_folder).results == expected
    assert "<p>second</p>" in (tmp_path / "two.html").read_text()
    kinds = [(event["step"], event["kind"]) for event in stage.record(run_folder).events]
    assert kinds == [("one", "started"), ("one", "finished"), ("two", "started"), ("two", "finished")]


def test_a_failing_step_leaves_what_was_known_and_its_reason(tmp_path: Path, run_folder: Path) -> None:
    before = tmp_path / "before.json"
    before.write_text('{"one": {"value": 1}}')
    with (
        pytest.raises(SystemExit) as left,
        stage.running("two", str(before), str(tmp_path / "r.json"), str(tmp_path / "p.html")),
    ):
        raise BadInput("the column 'texxt' is missing")
    assert left.value.code == BadInput.exit_code
    found = stage.record(run_folder)
    assert found.results == {"one": {"value": 1}}
    assert found.failure == {
        "step": "two",
        "kind": "BadInput",
        "message": "the column 'texxt' is missing",
        "exit_code": BadInput.exit_code,
    }


def test_settings_typed_in_by_hand_are_told_as_bad_input(tmp_path: Path, run_folder: Path) -> None:
    with (
        pytest.raises(SystemExit) as left,
        stage.running("train", None, str(tmp_path / "r.json"), str(tmp_path / "p.html")),
    ):
        TrainSettings.model_validate({"epochs": 0, "epoch": 3})
    assert left.value.code == BadInput.exit_code
    failure = stage.record(run_folder).failure
    assert failure
    assert "epochs = 0: Input should be greater than or equal to 1; epoch = 3" in failure["message"]


def test_an_unforeseen_error_leaves_its_traceback_in_the_log(tmp_path: Path, run_folder: Path) -> None:
    paths = f"None, '{tmp_path / 'r.json'}', '{tmp_path / 'p.html'}'"
    code = f"from components import stage\nwith stage.running('one', {paths}):\n    1 / 0\n"
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == 1
    assert "ZeroDivisionError: division by zero" in (run_folder / "logs" / "one.log").read_text()
    assert stage.record(run_folder).failure is not None


def test_output_of_a_step_and_of_its_children_goes_to_its_log(tmp_path: Path, run_folder: Path) -> None:
    with stage.running("one", None, str(tmp_path / "r.json"), str(tmp_path / "p.html")) as current:
        os.write(1, b"from the step\n")
        subprocess.run(["echo", "from a child"], check=True)
        current.finish({}, "")
    assert (run_folder / "logs" / "one.log").read_text() == "from the step\nfrom a child\n"


def test_without_a_run_folder_a_step_works_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    with stage.running("one", None, str(tmp_path / "r.json"), str(tmp_path / "p.html")) as current:
        current.finish({"value": 1}, "")
    assert json.loads((tmp_path / "r.json").read_text()) == {"one": {"value": 1}}
    assert stage.record() == stage.Record(None, {}, None, [])


def test_an_artifact_with_metadata_only_gets_a_file(tmp_path: Path, run_folder: Path) -> None:  # noqa: ARG001
    metrics = tmp_path / "out" / "metrics"
    paths = (str(tmp_path / "r.json"), str(tmp_path / "p.html"))
    with stage.running("one", None, *paths, [str(metrics)]) as current:
        current.finish({}, "")
    assert metrics.exists()
