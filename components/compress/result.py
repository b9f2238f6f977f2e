"""The result of the step `compress`."""

from typing import ClassVar

from pydantic import JsonValue

from slipway.components.step_runtime.step_result import ResultPart, StepResult


class VariantResult(ResultPart):
    """A variant with its measurements, on the validation split and on the machine that compressed it."""

    name: str
    """How it was made, for example `student-3x384+int8`."""
    accuracy: float
    """Share of right answers, from 0 to 1."""
    macro_f1: float
    """Mean F1 over the classes that occur, from 0 to 1."""
    kept: float
    """Its macro-F1 as a share of the teacher's."""
    kept_at_least: float
    """Lower bound of that share, with the confidence of the settings."""
    size_bytes: int
    """Size of model and tokenizer, in bytes."""
    latency_ms: dict[str, float]
    """Median latency by batch size, in ms."""
    latency_p95_ms: dict[str, float]
    """95th percentile of latency by batch size, in ms."""
    parameters: int
    """Number of weights."""
    seconds: float
    """Time that it took to make, in seconds."""
    fused: bool = False
    """Whether its graph has fused operators."""
    eligible: bool
    """Whether it keeps enough of the teacher's quality, with the confidence of the settings."""
    on_front: bool = False
    """Whether it is on the Pareto front of quality, latency and size."""
    chosen: bool
    """Whether it is delivered."""
    reason: str
    """Why it was chosen or not."""

    def latency(self, batch_size: int) -> float:
        """Median latency at a batch size, in ms."""
        return self.latency_ms[str(batch_size)]

    def latency_p95(self, batch_size: int) -> float:
        """95th percentile of latency at a batch size, in ms."""
        return self.latency_p95_ms[str(batch_size)]


class Tolerance(ResultPart):
    """How much logits of exported models differ from torch's, as a share of the largest logit."""

    allowed: float
    """The largest allowed difference."""
    measured: float
    """The largest measured difference."""


class Calibration(ResultPart):
    """The temperature of the delivered variant, and its expected calibration error on the validation split."""

    temperature: float
    """The number by which the model divides its logits; above 1 it was too sure of its answers."""
    error_before: float
    """The error without the temperature: mean distance between confidence and share of right answers, from 0 to 1."""
    error: float
    """The error with it."""
    error_by_chance: float
    """The error that a perfectly calibrated model with these confidences would have, since the texts are few."""


class Budget(ResultPart):
    """The time budget of the search, and whether it was enough."""

    seconds: float
    """The budget, in seconds."""
    exhausted: bool
    """Whether it was too short."""
    unfinished: list[str]
    """Models whose training was ended early or not started."""
    resumed: list[str] = []
    """Models that an earlier, killed run had finished or started."""


class CompressResult(StepResult):
    """All variants, and the variant that is delivered."""

    step: ClassVar[str] = "compress"

    candidates: list[VariantResult]
    """All variants, the teacher first."""
    chosen: str
    """Name of the variant that is delivered."""
    floor: float
    """The macro-F1 below which nothing is chosen."""
    teacher: VariantResult
    """The trained model, exported and not compressed."""
    calibration: Calibration | None = None
    """The temperature of the delivered variant; null in results of earlier releases."""
    tolerance: Tolerance
    """Differences of the exported models from torch's."""
    threads: int
    """Number of threads with which latency was measured."""
    settings: dict[str, JsonValue]
    """The settings of the step."""
    budget: Budget
    """The time budget of the search."""
    given_up: dict[str, str] = {}
    """Models whose teaching was stopped or not begun, since they could not pass, each with the reason."""
    seconds: float = 0.0
    """Time that the step took, in seconds."""

    @property
    def delivered(self) -> VariantResult:
        """The chosen variant."""
        return next(row for row in self.candidates if row.chosen)
