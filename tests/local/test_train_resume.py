"""Real torchrun: killed trainings go on where they were, and nothing is left behind."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from slipway.components.artifacts.checkpoint import load_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings
from slipway.components.train import report, step
from slipway.components.train.result import TrainResult

pytestmark = pytest.mark.local

SETTINGS = {
    "max_length": 32,
    "epochs": 40,
    "learning_rate": 1e-3,
    "head_factor": 1,
    "patience": 40,
    "accumulation": 2,
    "batch_size": 8,
}
INTERVAL = 5
LAUNCH = """
import json, sys
from pathlib import Path
from slipway.components.train import report, step
from slipway.components.learning.settings import TrainSettings
dataset, settings, output, work, uri = sys.argv[1:]
print(step.run(Path(dataset), {}, TrainSettings(**json.loads(settings)), Path(output), Path(work), uri).to_json())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def uri(place: Path) -> str:
    return f"sqlite:///{place}/mlflow.db"


@pytest.fixture(scope="module")
def settings(tiny_encoder: Path) -> dict[str, Any]:
    return SETTINGS | {"encoder": str(tiny_encoder), "checkpoint_every": INTERVAL}


@pytest.fixture(scope="module")
def undisturbed(place: Path, uri: str, settings: dict[str, Any], small_dataset: TextDataset) -> TrainResult:
    return train(place, uri, settings, small_dataset, "undisturbed")


def train(place: Path, uri: str, settings: dict[str, Any], dataset: TextDataset, name: str) -> TrainResult:
    chosen = TrainSettings.model_validate(settings)
    return step.run(dataset.folder, {}, chosen, place / name / "model", place / name / "work", uri)


@pytest.fixture
def launched(
    place: Path, uri: str, settings: dict[str, Any], small_dataset: TextDataset, request: pytest.FixtureRequest
) -> Iterator["subprocess.Popen[str]"]:
    """A training in a process of its own, handed over when at least two checkpoints were written."""
    own = place / request.node.name
    own.mkdir()
    places = [small_dataset.folder, json.dumps(settings), own / "model", own / "work", uri]
    command = [sys.executable, "-c", LAUNCH, *map(str, places)]
    with (own / "output").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, text=True)
    wait_for(lambda: len(list(own.glob("work/*/checkpoint-*"))) >= 2 or process.poll() is not None)
    assert process.poll() is None, (own / "output").read_text()
    yield process
    if process.poll() is None:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in two minutes"
        time.sleep(0.01)


def workers(launcher: int) -> list[psutil.Process]:
    """torchrun and its workers; the last two are the workers."""
    return sorted(psutil.Process(launcher).children(recursive=True), key=lambda process: process.pid)


def weights(model: Path) -> str:
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


def test_the_model_is_written_with_its_facts(place: Path, undisturbed: TrainResult) -> None:
    model, tokenizer, info = load_checkpoint(place / "undisturbed" / "model")
    assert (undisturbed.processes, undisturbed.resumed_from, undisturbed.updates) == (2, None, 160)
    assert undisturbed.validation.macro_f1 > 0.9
    assert model.config.id2label is not None
    assert info["labels"] == list(model.config.id2label.values())
    assert info["best_epoch"] == undisturbed.best_epoch
    assert tokenizer("help")["input_ids"]
    assert not list(place.glob("undisturbed/work/*/checkpoint-*")), "a training that ended needs no checkpoints"


def test_parameters_and_curves_are_in_mlflow(uri: str, undisturbed: TrainResult) -> None:
    client = MlflowClient(uri)
    run = client.get_run(undisturbed.mlflow_run_id)
    curve = client.get_metric_history(run.info.run_id, "train_loss")
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.001"
    assert [point.step for point in curve] == [point.update for point in undisturbed.curves.training]
    assert run.data.metrics["validation_macro_f1"] == undisturbed.curves.validation[-1].macro_f1


def test_after_a_killed_worker_the_training_goes_on_to_the_same_weights(
    place: Path,
    uri: str,
    settings: dict[str, Any],
    small_dataset: TextDataset,
    undisturbed: TrainResult,
    launched: "subprocess.Popen[str]",
    request: pytest.FixtureRequest,
) -> None:
    own = place / request.node.name
    family = workers(launched.pid)
    family[-1].kill()
    launched.wait()
    output = (own / "output").read_text()
    assert "SlipwayError: a training worker was killed by SIGKILL" in output
    assert not any(process.is_running() for process in family)
    logged = newest_run(uri)
    reached = max(int(path.name.split("-")[1]) for path in own.glob("work/*/checkpoint-*"))
    assert logged["run_id"] != undisturbed.mlflow_run_id
    assert 0 <= logged["update"] - reached <= INTERVAL, "MLflow knows the curve of a training that did not end"

    resumed = train(place, uri, settings, small_dataset, request.node.name)
    assert resumed.resumed_from == reached
    assert weights(own / "model") == weights(place / "undisturbed" / "model")
    assert resumed.curves == undisturbed.curves
    assert resumed.mlflow_run_id == logged["run_id"]
    history = MlflowClient(uri).get_metric_history(resumed.mlflow_run_id, "train_loss")
    assert [point.step for point in history] == [point.update for point in undisturbed.curves.training]


def newest_run(uri: str) -> dict[str, Any]:
    """The run that was started last, and the last update that it logged."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("slipway")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    history = client.get_metric_history(runs[0].info.run_id, "train_loss")
    return {"run_id": runs[0].info.run_id, "update": max(point.step for point in history)}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "terminate"])
def test_no_worker_outlives_its_launcher(launched: "subprocess.Popen[str]", number: signal.Signals) -> None:
    family = workers(launched.pid)
    assert len(family) >= 3
    os.kill(launched.pid, number)
    launched.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


def test_one_process_is_enough(place: Path, uri: str, settings: dict[str, Any], small_dataset: TextDataset) -> None:
    result = train(place, uri, settings | {"processes": 1, "epochs": 2}, small_dataset, "one")
    assert (result.processes, result.epochs) == (1, 2)


def test_what_a_worker_cannot_use_reaches_the_caller(
    place: Path, uri: str, settings: dict[str, Any], small_dataset: TextDataset
) -> None:
    with pytest.raises(BadInput, match="cannot classify texts of 500 tokens"):
        train(place, uri, settings | {"max_length": 500}, small_dataset, "long")


def test_a_private_training_is_one_however_many_processes_share_it(
    place: Path, uri: str, settings: dict[str, Any], small_dataset: TextDataset
) -> None:
    """The same samples, noise added once, and the ε of result, model and MLflow."""
    results = []
    private = settings | {"epochs": 4, "privacy_epsilon": 8}
    for name, processes, accumulation in (("alone", 1, 2), ("shared", 2, 1)):
        chosen = private | {"processes": processes, "accumulation": accumulation}
        result = train(place, uri, chosen, small_dataset, f"private-{name}")
        assert result.privacy is not None
        results.append(result.privacy)
        assert (result.processes, result.updates) == (processes, 32)
        assert load_checkpoint(place / f"private-{name}" / "model")[2]["privacy"] == result.privacy.model_dump()
        run = MlflowClient(uri).get_run(result.mlflow_run_id).data
        assert run.metrics["privacy_epsilon_spent"] == result.privacy.epsilon_spent <= 8
        assert run.params["noise_multiplier"] == str(result.privacy.noise_multiplier)
        assert result.privacy.updates == result.privacy.updates_planned == 32
        assert "differential privacy for one text" in report.section(result)
    assert results[0] == results[1]
