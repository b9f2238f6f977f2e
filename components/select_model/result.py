"""The result of the step `select_model`, and the score of each of its trainings."""

from typing import ClassVar

from pydantic import JsonValue

from slipway.components.step_runtime.step_result import ResultPart, StepResult


class FoldScore(ResultPart):
    """One training of cross-validation."""

    candidate: str
    """Name of the candidate."""
    fold: int
    """The fold that was held out, from 0."""
    macro_f1: float
    """On the held-out fold: mean F1 over the classes that occur, from 0 to 1."""
    accuracy: float
    """On the held-out fold: share of right answers, from 0 to 1."""
    seconds: float
    """Time of the training alone, in seconds."""
    parameters: int
    """Number of weights."""
    tokens: int
    """Tokens that the training passed through the model, without padding."""
    linear_probe: float | None = None
    """Macro-F1 of a linear probe of its encoder, trained and scored on the same texts."""
    tfidf: float | None = None
    """Macro-F1 of logistic regression on TF-IDF, likewise."""
    right: str = ""
    """Which of the held-out texts were answered right; see `choice.packed`. Empty in results of earlier releases."""


class Summary(ResultPart):
    """A candidate over all folds; scores from 0 to 1."""

    name: str
    """Name of the candidate."""
    changes: dict[str, JsonValue]
    """The settings of the step train that it changes."""
    macro_f1: list[float]
    """Macro-F1 of each fold, in order."""
    mean: float
    """Mean macro-F1 over the folds."""
    deviation: float
    """Sample standard deviation of the macro-F1 over the folds."""
    standard_error: float
    """Standard error of the mean macro-F1."""
    accuracy: float
    """Mean accuracy over the folds."""
    seconds: float
    """Mean time of a training, in seconds."""
    parameters: int
    """Number of weights."""
    tokens: int
    """Tokens that all its trainings passed through the model, without padding."""
    linear_probe: float | None = None
    """Mean macro-F1 of a linear probe of its encoder."""
    tfidf: float | None = None
    """Mean macro-F1 of logistic regression on TF-IDF."""
    behind: float = 0.0
    """Mean macro-F1 of the best candidate minus its own."""
    behind_error: float = 0.0
    """Standard error of this difference, from the same folds and texts."""
    as_good: bool = False
    """Whether it is behind by one standard error of the difference at most."""


class SelectModelResult(StepResult):
    """The choice of a candidate. With one candidate only, nothing is compared, and the other fields are not set."""

    step: ClassVar[str] = "select_model"

    compared: bool
    """Whether candidates were compared."""
    chosen: str
    """Name of the chosen candidate."""
    choice: dict[str, JsonValue]
    """The settings of the step train that it changes."""
    best: str = ""
    """Name of the candidate with the best mean."""
    threshold: float = 0.0
    """In results without `as_good`: the least mean macro-F1 that counts as good as the best."""
    candidates: list[Summary] = []
    """All candidates."""
    folds: int = 0
    """Parts of the training texts; each was held out once."""
    texts: int = 0
    """Number of training texts that were used."""
    few: list[str] = []
    """Classes with fewer texts than folds."""
    least_texts: int = 0
    """Number of texts of the rarest class among those that were used."""
