"""What every launcher does for a training: the promises of `Launcher`, as tests.

A module that tests one has a class that inherits from `LauncherContract`, and the fixtures `training`, `trained` and
`expected`.
"""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.train.result import TrainResult
from tests.background import Background, eventually


class Training(Protocol):
    """A training by two workers, with a place of its own and with time to be disturbed between two checkpoints."""

    @property
    def model(self) -> Path:
        """The folder in which the model is at the end."""
        ...

    def run(self, **changes: Any) -> TrainResult:
        """Launch the workers, and wait for their end. The next launch is of the same training."""
        ...

    def program(self) -> str:
        """Python code that does `run` in a process of its own."""
        ...

    def checkpoint(self) -> Any:
        """The newest checkpoint; None before the first one and after the training."""
        ...

    def workers(self) -> list[Any]:
        """The workers that are there."""
        ...

    def lose_worker(self) -> None:
        """Kill a worker without a warning."""
        ...


class LauncherContract:
    def after_loss(self, training: Training, error: SlipwayError) -> None:
        """See what else is true when a launch has failed that lost a worker."""

    def test_workers_train_one_model_and_leave_nothing_else(
        self, trained: tuple[Training, TrainResult], expected: TrainResult
    ) -> None:
        training, result = trained
        assert (result.processes, result.resumed_from, result.updates) == (2, None, expected.updates)
        assert dict(result.validation) == pytest.approx(dict(expected.validation), abs=0.02)
        assert (training.model / "model.safetensors").exists()
        eventually(lambda: not training.workers())
        assert not training.checkpoint(), "a training that ended needs no checkpoints"

    def test_what_a_worker_cannot_use_reaches_the_caller(self, training: Training) -> None:
        with pytest.raises(BadInput, match="cannot classify texts of 500 tokens"):
            training.run(max_length=500)
        eventually(lambda: not training.workers())

    def go_on_after_a_loss(self, training: Training) -> TrainResult:
        """The result of a training that lost a worker after its first checkpoint."""
        launch = Background(training.run)
        eventually(training.checkpoint, launch)
        training.lose_worker()
        try:
            result: TrainResult = launch.result()  # some launchers start a lost worker again
        except BadInput:
            raise
        except SlipwayError as error:
            self.after_loss(training, error)
            result = training.run()
        return result

    def test_after_the_loss_of_a_worker_the_training_goes_on_from_the_last_checkpoint(
        self, training: Training, expected: TrainResult
    ) -> None:
        self.check_resumed(training, self.go_on_after_a_loss(training), expected)

    def check_resumed(self, training: Training, result: TrainResult, expected: TrainResult) -> None:  # noqa: ARG002  # a launcher may ask for more
        """Check that a training that lost a worker did what an undisturbed one does."""
        assert result.resumed_from
        assert result.updates == expected.updates
        assert dict(result.validation) == pytest.approx(dict(expected.validation), abs=0.02)
        updates = [point.update for point in result.curves.training]
        assert updates == sorted(set(updates)), "the curve has each update once"

    def test_a_launch_that_is_ended_leaves_no_worker_and_keeps_the_checkpoints(self, training: Training) -> None:
        launch = subprocess.Popen([sys.executable, "-c", training.program()], stderr=subprocess.PIPE, text=True)
        try:
            eventually(lambda: training.checkpoint() or launch.poll() is not None)
            assert training.workers()
            launch.send_signal(signal.SIGTERM)
            _, error = launch.communicate(timeout=120)
        finally:
            launch.kill()
        assert launch.returncode == 128 + signal.SIGTERM, error
        eventually(lambda: not training.workers())
        assert training.checkpoint()
