"""The step `train` as a pipeline component; it begins with the choice that ends the step `select_model`."""

from kfp import dsl

from slipway.components.step_runtime.kfp_component import component


@component
def train(
    dataset: dsl.Input[dsl.Dataset],
    scores: list,
    request: dict,
    version: str,  # noqa: ARG001  # part of the cache's key
    model: dsl.Output[dsl.Model],
    training_report: dsl.Output[dsl.HTML],
    training_metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Choose a candidate, and fine-tune it with data-parallel workers. A killed training is resumed.

    Args:
        dataset: Dataset folder of the step prepare_data.
        scores: What the tasks of cross-validation returned, a list for each.
        request: Sections `train` and `select`, and where the workers run and log; see StepRequest, TrainSettings and
            SelectSettings.
        version: Any text that changes when this step's code or the weights of an encoder change. The cache then does
            not use an earlier result.
        model: Checkpoint folder with the weights of the best epoch, and the results of the steps so far.
        training_report: Learning curves, scores and settings; then the candidates with their scores. It is one page,
            since the UI shows one page of each task.
        training_metrics: Validation loss, macro-F1 and accuracy, the seconds that the training took, the ε of a
            private one, and what cross-validation gave the chosen candidate.
    """
    from pathlib import Path

    from slipway.components.learning.settings import TrainSettings
    from slipway.components.machine import home
    from slipway.components.select_model import report as selection
    from slipway.components.select_model import step as selecting
    from slipway.components.select_model.result import FoldScore
    from slipway.components.select_model.settings import SelectSettings
    from slipway.components.step_runtime import scalar_metrics, step_context
    from slipway.components.step_runtime.step_request import StepRequest
    from slipway.components.train import launchers, report, step

    step_request, results = StepRequest.model_validate(request), step_context.results_in(dataset.path)
    data, output, work = Path(dataset.path), Path(model.path), home.work()
    with step_context.running("select_model", results, "", record=step_request.record) as current:
        fold_scores = [FoldScore.model_validate(score) for task in scores for score in task]
        settings, select = (
            TrainSettings.model_validate(step_request.settings),
            SelectSettings.model_validate(step_request.select),
        )
        choice = selecting.choose(data, select, settings, fold_scores)
        current.finish(choice)
    with step_context.running(
        "train", results, training_report.path, [training_metrics.path], step_request.record
    ) as current:
        launcher = launchers.launcher_for(step_request.target, step_request.cluster)
        result = step.run(data, choice.choice, settings, output, work, step_request.tracking_uri, launcher)
        model.metadata["dataset_digest"] = result.dataset_digest
        model.metadata["mlflow_run_id"] = result.mlflow_run_id
        compared = {f"cross_validation_{name}": value for name, value in selection.scalars(choice).items()}
        scalar_metrics.log(training_metrics, report.scalars(result) | compared, "validation")
        current.finish(result, report.section(result) + selection.section(choice), model.path)
