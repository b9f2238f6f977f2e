"""What the step `compress` returns."""

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
    """Whether the parts of its graph were fused."""
    eligible: bool
    """Whether it surely keeps enough of the teacher's quality."""
    on_front: bool = False
    """Whether no other variant beats it in quality, latency and size."""
    chosen: bool
    """Whether it is the one that is delivered."""
    reason: str
    """Why it was chosen or not."""

    def latency(self, batch_size: int) -> float:
        """Median latency at a batch size, in ms."""
        return self.latency_ms[str(batch_size)]

    def latency_p95(self, batch_size: int) -> float:
        """95th percentile of latency at a batch size, in ms."""
        return self.latency_p95_ms[str(batch_size)]


class Tolerance(ResultPart):
    """By how much logits of exported models differ from torch's, as a share of the largest."""

    allowed: float
    """At most."""
    measured: float
    """The largest difference."""


class Budget(ResultPart):
    """What became of the time for the search."""

    seconds: float
    """The budget, in seconds."""
    exhausted: bool
    """Whether it was too short."""
    unfinished: list[str]
    """Models that were ended early or not begun."""
    resumed: list[str] = []
    """Models on which an earlier, killed run had worked."""


class CompressResult(StepResult):
    """All variants, and the one that is delivered."""

    step: ClassVar[str] = "compress"

    candidates: list[VariantResult]
    """All variants, the teacher first."""
    chosen: str
    """Name of the variant that is delivered."""
    floor: float
    """The macro-F1 below which nothing is chosen."""
    teacher: VariantResult
    """The trained model, exported and not compressed."""
    tolerance: Tolerance
    """How faithful the exports are."""
    threads: int
    """Threads with which latency was measured."""
    settings: dict[str, JsonValue]
    """The settings of the step."""
    budget: Budget
    """Whether the time for the search was enough."""
    seconds: float = 0.0
    """Time that the step took, in seconds."""

    @property
    def delivered(self) -> VariantResult:
        """The chosen variant."""
        return next(row for row in self.candidates if row.chosen)
