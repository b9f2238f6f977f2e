"""`import slipway`: what it costs, and how `slipway.run` and `slipway.compile` begin and end."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

import slipway
from slipway.components.report.outcome import Outcome
from slipway.pipelines.home import Places
from slipway.pipelines.local_run import exclusive
from slipway.pipelines.python_api import given, result_of
from slipway.pipelines.run_supervisor import sigterm_raises
from tests.pipelines.command import slipway as command

pytestmark = pytest.mark.usefixtures("here")


def imported(code: str) -> set[str]:
    """The top-level modules that a new process has after some code."""
    program = f"{code}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_import_takes_nothing_else_and_a_client_little() -> None:
    assert not imported("import slipway") & {"kfp", "torch", "httpx", "numpy", "pydantic", "rich"}
    assert not imported("import slipway; slipway.Client") & {"kfp", "torch", "grpc", "kserve", "mlflow", "pandas"}
    assert not imported("import slipway; slipway.run, slipway.compile") & {"kfp", "torch", "mlflow"}


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(getattr(slipway, name).__module__.startswith("slipway.") for name in slipway.__all__)
    assert set(slipway.__all__) <= set(dir(slipway))
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = slipway.train  # type: ignore[attr-defined]


def test_settings_may_be_a_mapping_a_path_or_what_lies_here(here: Path) -> None:
    assert given({"train": {"epochs": 9}}).train.epochs == 9
    (here / "other.yaml").write_text("train: {epochs: 8}")
    assert given("other.yaml").train.epochs == given(here / "other.yaml").train.epochs == 8
    default = given(None).train.epochs
    (here / "slipway.yaml").write_text(f"train: {{epochs: {default + 1}}}")
    assert given(None).train.epochs == default + 1
    assert given({}).train.epochs == default


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"train": {"epoch": 3}}, "did you mean train.epochs"),
        ({"train": {"epochs": -1}}, "train.epochs = -1"),
        ("nowhere.yaml", "nowhere.yaml cannot be read"),
        ({"data": {"source": "./nowhere.csv"}}, "'./nowhere.csv' does not exist"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_a_run_begins(
    here: Path, settings: str | dict[str, Any], words: str
) -> None:
    with pytest.raises(slipway.BadInput, match=words):
        slipway.run(settings)
    assert not (here / "home" / "runs").exists()


@pytest.mark.parametrize("outcome", ["delivered", "gate refused", "rolled back", "held"])
def test_a_verdict_is_a_result(tmp_path: Path, outcome: str) -> None:
    result = result_of(Outcome(outcome, "because", 3, "bad"), tmp_path / "run-1" / "report.html")
    assert (result.run, result.folder, result.outcome) == ("run-1", tmp_path / "run-1", outcome)
    assert (result.reason, result.delivered) == ("because", outcome == "delivered")


def test_what_a_step_finds_unusable_is_bad_input_too(tmp_path: Path) -> None:
    report = tmp_path / "run-1" / "report.html"
    with pytest.raises(slipway.BadInput, match="too few texts; logs: .*run-1/logs; report: .*report.html") as refused:
        result_of(Outcome("bad input", "train: too few texts", 2, "bad"), report)
    failure = refused.value.__cause__
    assert isinstance(failure, slipway.RunFailed)
    assert (failure.result.outcome, failure.result.delivered) == ("bad input", False)


def test_a_run_that_fails_raises_what_is_known_of_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with exclusive(Places.here(), "another"), pytest.raises(slipway.RunFailed, match="run another is at work") as run:
        slipway.run()
    result = run.value.result
    assert (result.outcome, result.folder.parent, result.run) == ("failed", here / "home" / "runs", result.folder.name)
    assert "run another is at work" in result.reason
    assert result.report.read_text("utf-8").startswith("<!")
    assert f"run {result.run} of" in capsys.readouterr().out


def test_a_run_may_be_in_any_thread_and_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with exclusive(Places.here(), "another"), ThreadPoolExecutor(1) as pool, pytest.raises(slipway.RunFailed):
        pool.submit(slipway.run, quiet=True).result()
    assert capfd.readouterr().out == ""


def test_sigterm_ends_a_run_and_leaves_handlers_as_they_were() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with pytest.raises(SystemExit), sigterm_raises():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_somebody_else_s_handler_of_sigterm_stays() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with sigterm_raises():
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_the_compiled_pipeline_is_that_of_the_command(here: Path) -> None:
    assert slipway.compile("one.yaml") == Path("one.yaml")
    assert command("compile", "--output", "other.yaml").stdout == "wrote other.yaml\n"
    assert (here / "one.yaml").read_text("utf-8") == (here / "other.yaml").read_text("utf-8")
    assert next(yaml.safe_load_all((here / "one.yaml").read_text("utf-8")))["pipelineInfo"]


def test_a_pipeline_that_cannot_be_written_is_bad_input(here: Path) -> None:
    with pytest.raises(slipway.BadInput, match="give a .yaml file in a folder that is there"):
        slipway.compile(here / "nowhere" / "pipeline.yaml")
