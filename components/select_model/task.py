"""The request of a task of cross-validation, which Kubeflow Pipelines passes to it as plain JSON."""

from pydantic import ConfigDict, JsonValue

from slipway.components.settings import Settings


class PlannedCandidate(Settings):
    """A candidate, with everything that its trainings need."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    """Name of the candidate."""
    train: dict[str, JsonValue]
    """Its settings for the step train that differ from the defaults."""
    weights: str
    """Version of its encoder, which is part of the cache's key."""


class CrossValidationTask(Settings):
    """The trainings of some candidates. All tasks have the same `folds`, `texts` and `seed`, so the same folds."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    folds: int
    """Parts of the training split; each is held out once."""
    texts: int
    """Most texts of the training split that are used; 0 uses all."""
    class_texts: int = 0
    """Texts for each class at least, on average, when `texts` is not 0."""
    seed: int
    """Seed of the draw and of the folds."""
    candidates: list[PlannedCandidate]
    """The candidates to train; empty when there is nothing to compare."""
    record: str = ""
    """URI below which pods keep the records of runs."""
