"""A component's surroundings: results are handed on, failures become one record, output goes to the step's log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms import mounted_credentials
from slipway.components.step_runtime import step_context
from slipway.components.step_runtime.run_record import Failure, Record
from tests.components.step_results import AnyResult


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("SLIPWAY_RUN", str(folder))
    return folder


def test_results_grow_from_step_to_step(tmp_path: Path, run_folder: Path) -> None:
    data, model = tmp_path / "data", tmp_path / "model"
    with step_context.running("one", {}, str(tmp_path / "one.html")) as current:
        current.finish(AnyResult(value=1), "<p>first</p>", str(data))
    with step_context.running("two", step_context.results_in(str(data)), str(tmp_path / "two.html")) as current:
        current.finish(AnyResult(value=2), "<p>second</p>", str(model))
    expected = {"one": {"value": 1}, "two": {"value": 2}}
    assert step_context.results_in(str(model)) == expected
    assert step_context.record(run_folder).results == expected
    assert "<p>second</p>" in (tmp_path / "two.html").read_text()
    kinds = [(event.step, event.kind) for event in step_context.record(run_folder).events]
    assert kinds == [("one", "started"), ("one", "finished"), ("two", "started"), ("two", "finished")]


def test_a_step_that_gets_no_results_covers_none_of_those_before(tmp_path: Path, run_folder: Path) -> None:
    for step in ("evaluate", "rollout"):
        with step_context.running(step, {}, str(tmp_path / "page.html")) as current:
            current.finish(AnyResult(value=step))
    assert step_context.record(run_folder).results == {step: {"value": step} for step in ("evaluate", "rollout")}


def test_a_failing_step_leaves_what_was_known_and_its_reason(tmp_path: Path, run_folder: Path) -> None:
    with (
        pytest.raises(SystemExit) as left,
        step_context.running("two", {"one": {"value": 1}}, str(tmp_path / "p.html")),
    ):
        raise BadInput("the column 'texxt' is missing")
    assert left.value.code == BadInput.exit_code
    found = step_context.record(run_folder)
    assert found.results == {"one": {"value": 1}}
    assert found.failure == Failure(
        step="two", kind="BadInput", message="the column 'texxt' is missing", exit_code=BadInput.exit_code
    )


def test_settings_typed_in_by_hand_are_told_as_bad_input(tmp_path: Path, run_folder: Path) -> None:
    with (
        pytest.raises(SystemExit) as left,
        step_context.running("train", {}, str(tmp_path / "p.html")),
    ):
        TrainSettings.model_validate({"epochs": 0, "epoch": 3})
    assert left.value.code == BadInput.exit_code
    failure = step_context.record(run_folder).failure
    assert failure
    assert "epochs = 0: Input should be greater than or equal to 1; epoch = 3" in failure.message


def test_an_unforeseen_error_leaves_its_traceback_in_the_log(tmp_path: Path, run_folder: Path) -> None:
    page = str(tmp_path / "p.html")
    code = (
        "from slipway.components.step_runtime import step_context as stage\n"
        f"with stage.running('one', {{}}, {page!r}):\n    1 / 0\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    assert ended.returncode == 1
    assert "ZeroDivisionError: division by zero" in (run_folder / "logs" / "one.log").read_text()
    assert step_context.record(run_folder).failure is not None


def test_output_of_a_step_and_of_its_children_goes_to_its_log(tmp_path: Path, run_folder: Path) -> None:
    with step_context.running("one", {}, str(tmp_path / "p.html")) as current:
        os.write(1, b"from the step\n")
        subprocess.run(["echo", "from a child"], check=True)
        current.finish(AnyResult(), "")
    assert (run_folder / "logs" / "one.log").read_text() == "from the step\nfrom a child\n"


def test_without_a_run_folder_a_step_works_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    with step_context.running("one", {}, str(tmp_path / "p.html")) as current:
        current.finish(AnyResult(value=1), "", str(tmp_path / "data"))
    assert json.loads((tmp_path / "data" / "results.json").read_text()) == {"one": {"value": 1}}
    assert step_context.record() == Record(None, {}, None, [])


def test_an_artifact_with_metadata_only_gets_a_file(tmp_path: Path, run_folder: Path) -> None:  # noqa: ARG001
    metrics = tmp_path / "out" / "metrics"
    with step_context.running("one", {}, str(tmp_path / "p.html"), [str(metrics)]) as current:
        current.finish(AnyResult(), "")
    assert metrics.exists()


def test_parallel_parts_of_a_step_write_results_that_can_be_read_at_any_time(run_folder: Path) -> None:
    again = "for _ in range(300):\n    stage.keep_results({'one': {'texts': ['x' * 50] * 500}})\n"
    code = f"from slipway.components.step_runtime import step_context as stage\n{again}"
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    while any(writer.poll() is None for writer in writers):
        step_context.record(run_folder)
    assert [writer.returncode for writer in writers] == [0, 0]


def test_credentials_of_a_pod_are_files_and_no_other_variable_comes_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "PYTHONPATH_OF_A_STRANGER"):
        (tmp_path / name).write_text("from a file\n")
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "mine")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    mounted_credentials.load([str(tmp_path), str(tmp_path / "absent")])
    assert os.environ["AWS_ACCESS_KEY_ID"] == "from a file"
    assert os.environ["AWS_DEFAULT_REGION"] == "mine"
    assert "PYTHONPATH_OF_A_STRANGER" not in os.environ
