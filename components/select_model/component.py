"""The step `select_model` as a pipeline of its own: the trainings of cross-validation. The step train chooses."""

from kfp import dsl

from components.kfp_component import component
from components.pod import COMPUTING, in_pod

PARALLEL = 4
"""Trainings of cross-validation at a time; each uses one thread. kfp.local runs two."""


@component
def cross_validate(
    dataset: dsl.Input[dsl.Dataset],
    item: dict,
    version: str,  # noqa: ARG001  # part of the cache's key
    record: str = "",
) -> dict:
    """Train one candidate without one fold, and score it on that fold.

    Args:
        dataset: Dataset folder of the step prepare_data; only its training split is used.
        item: Candidate, fold, and how to train; one of what `step.plan` lists.
        version: Any text that changes when the code does, so that the cached outcome of another is not used.
        record: URI below which pods keep the records of runs.

    Returns:
        Scores, seconds and size; nothing when the item stands for a single candidate.
    """
    from pathlib import Path

    from components import stage
    from components.select_model import step

    with stage.part("select_model", stage.results_in(dataset.path), record):
        return step.cross_validate(Path(dataset.path), item)


@dsl.pipeline(name="select-model")
def select_model(dataset: dsl.Input[dsl.Dataset], items: list[dict], version: str, record: str = "") -> list:
    """Score candidates by stratified cross-validation.

    The loop runs over the pipeline's own parameter, and its collected results are the pipeline's result: a shape that
    Kubeflow Pipelines and kfp.local run alike, fresh and from the cache. A condition around it is none: the backend
    never notes that a branch of cached tasks ended.

    Args:
        dataset: Dataset folder of the step prepare_data; only its training split is used.
        items: One for each training: candidate, fold and settings; one that trains nothing for a single candidate.
        version: As for cross_validate.
        record: URI below which pods keep the records of runs.

    Returns:
        What the trainings returned.
    """
    with dsl.ParallelFor(items, name="folds", parallelism=PARALLEL) as item:
        scored = in_pod(cross_validate(dataset=dataset, item=item, version=version, record=record), COMPUTING)
    return dsl.Collected(scored.output)
