"""The result of the step `evaluate`: the scores of challenger and champion, and the gate's verdict."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict, JsonValue

from slipway.components.explanation.class_explanation import ClassExplanation
from slipway.components.learning.baselines import Baseline
from slipway.components.learning.bootstrap import Histogram, Interval
from slipway.components.learning.scores import Bin, ClassScore, RocCurve
from slipway.components.step_runtime.step_result import ResultPart, StepResult


@dataclass(frozen=True)
class Check:
    """One condition of the gate. Value and limit are shares."""

    name: str
    """What is checked."""
    value: float
    """The measured value."""
    limit: float
    """The least or greatest value that passes."""
    passed: bool
    """Whether the value is within the limit."""
    words: str
    """The check as a sentence."""


class Verdict(ResultPart):
    """The gate's decision."""

    passed: bool
    """Whether the challenger may be registered: all checks passed."""
    reasons: list[str] = []
    """A sentence for each check, failed ones first."""
    checks: list[Check] = []
    """The checks, in the same order."""

    @property
    def failures(self) -> list[str]:
        """A sentence for each check that failed."""
        return [check.words for check in self.checks if not check.passed]


@dataclass(frozen=True)
class Membership:
    """How well the attack separates training texts from test texts."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)

    auc: float
    """Chance that a training text has a lower loss than a test text; 0.5 is guessing."""
    advantage: float
    """Greatest difference between the shares of training texts and of test texts below a threshold; 0 is guessing."""
    found_at_1_percent: float
    """Share of the training texts that are found when 1 % of the test texts are taken for training texts, too; 0.01 is
    guessing.
    """
    members: int
    """Number of training texts."""
    others: int
    """Number of test texts."""


class TypoScores(ResultPart):
    """Scores on the test texts with typing errors, from 0 to 1."""

    macro_f1: float
    """Mean F1 over the classes that occur."""
    accuracy: float
    """Share of right answers."""
    drop: float
    """Macro-F1 lost to the typing errors."""


class ModelScores(ResultPart):
    """A model's scores on the test split, from 0 to 1."""

    accuracy: float
    """Share of right answers."""
    macro_f1: float
    """Mean F1 over the classes that occur."""
    calibration_error: float
    """Expected calibration error: mean distance between confidence and share of right answers."""
    calibration_error_by_chance: float | None = None
    """The error that a perfectly calibrated model with these confidences would have, since the texts are few."""
    calibration_error_unscaled: float | None = None
    """The error without the temperature that the model divides its logits by; null for a model without one."""
    classes: list[ClassScore]
    """Scores of each class, in the order of the labels."""
    bins: list[Bin]
    """Bins of the reliability diagram."""
    confusion: list[list[int]]
    """Number of texts by true class (rows) and answer (columns); the last column counts labels that the data do not
    have.
    """
    typos: TypoScores
    """Scores on the texts with typing errors."""


class ChampionScores(ModelScores):
    """The champion's scores, and what a reader of the comparison must know."""

    version: str
    """Its version in the registry."""
    same_data: bool
    """Whether it was trained on the same dataset."""
    labels_it_lacks: list[str]
    """Labels of the data that it does not have."""
    labels_now_gone: list[str]
    """Labels that it has and the data do not."""


class BestSoFar(ResultPart):
    """The best version that was ever promoted, by the macro-F1 that it had when it was registered."""

    version: str
    """Its version in the registry."""
    recorded: float
    """Its macro-F1 when it was registered, on the test split of then."""
    same_data: bool
    """Whether it was tested on the test split of this run then; if not, it was tested on it now."""
    macro_f1: float | None = None
    """Its macro-F1 on the test split of this run; null when it could not be tested on it."""
    drop: float | None = None
    """How far the challenger's macro-F1 is below; negative when it is above, null when they could not be compared."""
    why_not: str = ""
    """Why they could not be compared; empty when they were."""


class Intervals(ResultPart):
    """Scores with their confidence intervals."""

    macro_f1: Interval
    """Mean F1 over the classes that occur."""
    accuracy: Interval
    """Share of right answers."""


class Difference(Intervals):
    """Challenger minus champion, on the texts of classes that both know."""

    texts: int
    """Number of these texts."""
    histogram: Histogram
    """The resampled differences of macro-F1."""


class Slice(Intervals):
    """The challenger's scores on a part of the test split, with their confidence intervals."""

    by: str
    """What the texts have in common: `length`, `script`, or the name of a column of the data."""
    name: str
    """Their value of it, such as `up to 40 characters`."""
    texts: int
    """Number of these texts."""
    surely_worse_by: float
    """How far their accuracy lies at least below that of all test texts, with the confidence of the settings over all
    slices; zero or less when it may be as high.
    """


class Mistake(ResultPart):
    """A wrong answer."""

    text: str
    """The text."""
    label: str
    """The right label."""
    predicted: str
    """The answer."""
    confidence: float
    """Probability of the answer, from 0 to 1."""
    explanation: ClassExplanation | None = None
    """The words that supported the answer; for the first mistakes only."""


class GateResult(StepResult):
    """The gate's part of the result, for code that needs nothing else."""

    step: ClassVar[str] = "evaluate"

    gate: Verdict
    """The gate's verdict."""


class EvaluateResult(GateResult):
    """Challenger and champion on the test split, and whether the challenger may be registered."""

    labels: list[str]
    """Names of the classes."""
    texts: int
    """Number of test texts."""
    challenger: ModelScores
    """Scores of the model of this run."""
    roc: RocCurve | None = None
    """The challenger's ROC curve for the second of two classes; null for more."""
    champion: ChampionScores | None
    """Scores of the model that is served; null when there is none."""
    best: BestSoFar | None = None
    """The best version so far, and the drop that has added up since; null when nothing was promoted yet."""
    identical_to_champion: str | None
    """The champion's version if the challenger is the same model; otherwise null."""
    intervals: Intervals
    """The challenger's scores with their intervals."""
    difference: Difference | None
    """Challenger minus champion; null when there is nothing to compare."""
    slices: list[Slice] = []
    """The challenger's scores on parts of the test split."""
    membership: Membership | None
    """How well training texts can be recognised; null when that was not measured."""
    mistakes: list[Mistake]
    """Wrong answers with the highest confidence."""
    typo_examples: list[tuple[str, str]]
    """Test texts, each beside the same text with typing errors."""
    baselines: list[Baseline] = []
    """Simple classifiers on the same splits, which the step train fitted."""
    settings: dict[str, JsonValue]
    """The settings of the step."""
    seconds: float = 0.0
    """Time that the step took, in seconds."""
