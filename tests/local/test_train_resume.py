"""The launcher of this machine: real torchrun, killed trainings go on where they were, and nothing is left behind."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from slipway.components.artifacts.checkpoint import load_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import SlipwayError
from slipway.components.learning.settings import TrainSettings
from slipway.components.train import report, step
from slipway.components.train.result import TrainResult
from tests.background import eventually
from tests.components.present import present
from tests.components.train.launcher_contract import LauncherContract, Training

pytestmark = pytest.mark.local

SETTINGS = {
    "max_length": 32,
    "epochs": 40,
    "learning_rate": 1e-3,
    "head_factor": 1,
    "patience": 40,
    "evaluations": 1,
    "accumulation": 2,
    "batch_size": 8,
}
INTERVAL = 5
UNDISTURBED = "undisturbed"
WORKER = "slipway.components.train.worker"
LAUNCH = """
from pathlib import Path
from slipway.components.learning.settings import TrainSettings
from slipway.components.train import step
settings = TrainSettings.model_validate_json({settings!r})
step.run(Path({dataset!r}), {{}}, settings, Path({output!r}), Path({work!r}), {uri!r})
"""


class LocalTraining:
    """A training by torchrun, in a folder of its own."""

    def __init__(self, folder: Path, settings: dict[str, Any], dataset: TextDataset, uri: str) -> None:
        self.folder, self.settings, self.dataset, self.uri = folder, settings, dataset.folder, uri
        self.model, self.work = folder / "model", folder / "work"

    def run(self, **changes: Any) -> TrainResult:
        settings = TrainSettings.model_validate(self.settings | changes)
        return step.run(self.dataset, {}, settings, self.model, self.work, self.uri)

    def program(self) -> str:
        settings = TrainSettings.model_validate(self.settings).model_dump_json()
        places = {"dataset": self.dataset, "output": self.model, "work": self.work}
        return LAUNCH.format(settings=settings, uri=self.uri, **{name: str(path) for name, path in places.items()})

    def checkpoint(self) -> int | None:
        """The update of the newest checkpoint."""
        return max((int(path.name.split("-")[1]) for path in self.folder.glob("work/*/checkpoint-*")), default=None)

    def family(self) -> list[psutil.Process]:
        """torchrun and its workers, the newest last."""
        started = psutil.Process().children(recursive=True)
        return [process for process in started if str(self.work) in " ".join(command_line(process))]

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.family() if WORKER in command_line(process)]

    def lose_worker(self) -> None:
        self.workers()[-1].kill()


def command_line(process: psutil.Process) -> list[str]:
    line: list[str] = []
    with suppress(psutil.Error):  # it has ended
        line = process.cmdline()
    return line


NewTraining = Callable[..., LocalTraining]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def uri(place: Path) -> str:
    return f"sqlite:///{place}/mlflow.db"


@pytest.fixture(scope="module")
def new_training(place: Path, uri: str, tiny_encoder: Path, small_dataset: TextDataset) -> NewTraining:
    def function(name: str, **changes: Any) -> LocalTraining:
        settings = SETTINGS | {"encoder": str(tiny_encoder), "checkpoint_every": INTERVAL} | changes
        return LocalTraining(place / name, settings, small_dataset, uri)

    return function


@pytest.fixture(scope="module")
def trained(new_training: NewTraining) -> tuple[LocalTraining, TrainResult]:
    training = new_training(UNDISTURBED)
    return training, training.run()


@pytest.fixture(scope="module")
def expected(trained: tuple[LocalTraining, TrainResult]) -> TrainResult:
    return trained[1]


@pytest.fixture
def training(new_training: NewTraining, request: pytest.FixtureRequest) -> LocalTraining:
    return new_training(request.node.name)


class TestLocalLauncher(LauncherContract):
    reached: int | None
    """The newest checkpoint when a worker was lost."""
    run_id: str
    """The MLflow run of the launch that lost it."""

    def after_loss(self, training: Training, error: SlipwayError) -> None:
        assert isinstance(training, LocalTraining)
        assert "a training worker was killed by SIGKILL" in str(error)
        assert not training.family()
        logged = newest_run(training.uri)
        self.reached, self.run_id = training.checkpoint(), logged["run_id"]
        assert 0 <= logged["update"] - present(self.reached) <= INTERVAL, "MLflow knows the curve until then"

    def check_resumed(self, training: Training, result: TrainResult, expected: TrainResult) -> None:
        """Here weights and curves are those of an undisturbed training, to the last bit."""
        super().check_resumed(training, result, expected)
        assert isinstance(training, LocalTraining)
        assert result.resumed_from == self.reached
        assert weights(training.model) == weights(training.folder.with_name(UNDISTURBED) / "model")
        assert result.curves == expected.curves
        assert expected.mlflow_run_id != result.mlflow_run_id == self.run_id
        history = MlflowClient(training.uri).get_metric_history(self.run_id, "train_loss")
        assert [point.step for point in history] == [point.update for point in expected.curves.training]

    def test_no_worker_outlives_a_launcher_that_is_killed(self, training: LocalTraining) -> None:
        launcher = subprocess.Popen([sys.executable, "-c", training.program()], stderr=subprocess.DEVNULL)
        eventually(training.checkpoint)
        family = training.family()
        assert len(family) >= 3
        launcher.kill()
        launcher.wait()
        _, alive = psutil.wait_procs(family, timeout=60)
        assert not alive


def weights(model: Path) -> str:
    return hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()


def test_the_model_is_written_with_its_facts(trained: tuple[LocalTraining, TrainResult]) -> None:
    training, undisturbed = trained
    model, tokenizer, info = load_checkpoint(training.model)
    assert undisturbed.updates == 160
    assert undisturbed.validation.macro_f1 > 0.9
    assert model.config.id2label is not None
    assert info["labels"] == list(model.config.id2label.values())
    assert info["best_epoch"] == undisturbed.best_epoch
    assert tokenizer("help")["input_ids"]


def test_parameters_and_curves_are_in_mlflow(uri: str, expected: TrainResult) -> None:
    client = MlflowClient(uri)
    run = client.get_run(expected.mlflow_run_id)
    curve = client.get_metric_history(run.info.run_id, "train_loss")
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.001"
    assert [point.step for point in curve] == [point.update for point in expected.curves.training]
    assert run.data.metrics["validation_macro_f1"] == expected.curves.validation[-1].macro_f1


def newest_run(uri: str) -> dict[str, Any]:
    """The run that was started last, and the last update that it logged."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("slipway")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    history = client.get_metric_history(runs[0].info.run_id, "train_loss")
    return {"run_id": runs[0].info.run_id, "update": max(point.step for point in history)}


def test_a_private_training_is_one_however_many_processes_share_it(new_training: NewTraining, uri: str) -> None:
    """The same samples, noise added once, and the ε of result, model and MLflow."""
    results = []
    for name, processes, accumulation in (("alone", 1, 2), ("shared", 2, 1)):
        training = new_training(f"private-{name}", epochs=4, privacy_epsilon=8)
        result = training.run(processes=processes, accumulation=accumulation)
        assert result.privacy is not None
        results.append(result.privacy)
        assert (result.processes, result.updates) == (processes, 32)
        assert load_checkpoint(training.model)[2]["privacy"] == result.privacy.model_dump()
        run = MlflowClient(uri).get_run(result.mlflow_run_id).data
        assert run.metrics["privacy_epsilon_spent"] == result.privacy.epsilon_spent <= 8
        assert run.params["noise_multiplier"] == str(result.privacy.noise_multiplier)
        assert result.privacy.updates == result.privacy.updates_planned == 32
        assert "differential privacy for one text" in report.section(result)
    assert results[0] == results[1]
