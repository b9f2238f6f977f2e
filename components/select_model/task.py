"""What a task of cross-validation is asked: it travels through Kubeflow Pipelines as plain JSON."""

from pydantic import ConfigDict, JsonValue

from slipway.components.settings import Settings


class PlannedCandidate(Settings):
    """A candidate, with all that its trainings need."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """Of the candidate."""
    train: dict[str, JsonValue]
    """Its settings for the step train, where they differ from the defaults."""
    weights: str
    """Version of its encoder, so that a cache knows when it changed."""


class CrossValidationTask(Settings):
    """The trainings of some candidates. `folds`, `texts` and `seed` make the same folds for all tasks."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    folds: int
    """Parts of the training split; each is held out once."""
    texts: int
    """Texts of the training split that are used at most; 0 uses all."""
    seed: int
    """Of the draw and of the folds."""
    candidates: list[PlannedCandidate]
    """Whose trainings these are; none when there is nothing to compare."""
    record: str = ""
    """URI below which pods keep the records of runs."""
