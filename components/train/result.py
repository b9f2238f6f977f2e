"""The result of the step `train`."""

from typing import ClassVar

from pydantic import JsonValue

from slipway.components.artifacts.privacy_guarantee import Privacy
from slipway.components.learning.baselines import Baseline
from slipway.components.step_runtime.step_result import ResultPart, StepResult


class ValidationScores(ResultPart):
    """Scores on the validation split."""

    loss: float
    """Mean cross-entropy, in nats."""
    macro_f1: float
    """Mean F1 over the classes that occur, from 0 to 1."""
    accuracy: float
    """Share of right answers, from 0 to 1."""


class ValidationPoint(ValidationScores):
    """One evaluation."""

    epoch: int
    """In or at the end of this epoch, from 1."""
    update: int
    """After so many updates."""


class TrainingPoint(ResultPart):
    """A point of the training curve."""

    update: int
    """After so many updates."""
    loss: float
    """Mean loss of the updates since the last point, in nats."""
    learning_rate: float
    """Of the last of these updates."""


class Curves(ResultPart):
    """Learning curves, in order."""

    training: list[TrainingPoint]
    """Points during the training."""
    validation: list[ValidationPoint]
    """Points at each evaluation."""


class TrainResult(StepResult):
    """A training. The weights of its best evaluation are the model."""

    step: ClassVar[str] = "train"

    labels: list[str]
    """Names of the classes."""
    dataset_digest: str
    """`sha256:…` of the dataset."""
    encoder: str
    """Name or folder of the pretrained encoder."""
    max_length: int
    """Longest text that the model reads, in tokens."""
    settings: dict[str, JsonValue]
    """The settings of the step, with what select_model chose."""
    best_epoch: int
    """The epoch whose weights are the model; see best_update."""
    best_update: int = 0
    """The update after which the weights were best; 0 in results that evaluated at the end of epochs only."""
    validation: ValidationScores
    """Scores of the best evaluation."""
    baselines: list[Baseline] = []
    """Scores of simple classifiers on the same texts; none after a private training, which would give them away."""
    texts_cut: dict[str, int] = {}
    """Split to the number of its texts with more than max_length tokens, whose rest the model does not read."""
    texts_read: dict[str, int] = {}
    """Split to the number of its texts."""
    parameters: int
    """Number of weights."""
    mlflow_run_id: str
    """The training's run in MLflow."""
    privacy: Privacy | None = None
    """How much the weights may reveal about a training text; only after a private training."""
    updates: int
    """Number of updates."""
    epochs: int
    """Number of whole epochs."""
    stopped_early: bool
    """Whether it stopped before the last epoch of the settings, since the scores did not improve."""
    seconds: float
    """Time of the training, in seconds; for a resumed one, of all its parts."""
    processes: int
    """Worker processes."""
    resumed_from: int | None
    """The update from which a killed training was resumed; null for a training that was not killed."""
    curves: Curves
    """Learning curves."""
