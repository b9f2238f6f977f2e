"""The trainings of the step `select_model` as a pipeline component; the component of the step `train` chooses."""

from kfp import dsl

from slipway.components.step_runtime.kfp_component import component


@component
def cross_validate(
    dataset: dsl.Input[dsl.Dataset],
    task: dict,
    version: str,  # noqa: ARG001  # part of the cache's key
) -> list:
    """Cross-validate candidates: for each fold, train on all other folds and score on this fold.

    Args:
        dataset: Dataset folder of the step prepare_data; only its training split is used.
        task: Candidates, folds and settings of the training; one of the tasks that `step.plan` returns.
        version: Any text that changes when the code changes. The cache then does not use an earlier result.

    Returns:
        Scores, seconds and size of each training.
    """
    from pathlib import Path

    from slipway.components.select_model import step
    from slipway.components.select_model.task import CrossValidationTask
    from slipway.components.step_runtime import step_context

    validation_task = CrossValidationTask.model_validate(task)
    with step_context.part("select_model", step_context.results_in(dataset.path), validation_task.record):
        return [score.model_dump() for score in step.cross_validate(Path(dataset.path), validation_task)]
