"""The step `evaluate` as a pipeline component."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    draft: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    settings: dict,
    tracking_uri: str,
    model_name: str,
    results_before: dsl.Input[dsl.Artifact],
    results: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    record: str = "",
) -> NamedTuple("Outputs", [("passed", bool), ("Output", bool)]):
    """Compare a challenger with the champion on the test split; the quality gate decides, with reasons.

    A refused challenger is a result, not a failure: the step succeeds and `passed` is false.

    Args:
        draft: Draft bundle of the step compress.
        dataset: Dataset folder of the step prepare_data.
        settings: Section `evaluate` of slipway.yaml; see EvaluateSettings.
        tracking_uri: The MLflow tracking server with the model registry.
        model_name: Name of the registered and served model.
        results_before: Results of the steps so far.
        results: Results of all steps so far.
        html: The gate's reasons, comparison with the champion, confusion, calibration, robustness.
        metrics: Scores of the challenger and its difference from the champion.
        confusion: Confusion matrix of the challenger; rows are true classes.
        record: URI below which pods keep the records of runs.

    Returns:
        passed: Whether the challenger may be registered.
        Output: The same, for conditions: in them kfp.local finds no output of another name, and goes on as if false.
    """
    from pathlib import Path

    from components import stage
    from components.evaluate import report, step, typed_metrics
    from components.evaluate.settings import EvaluateSettings

    with stage.running(
        "evaluate", results_before.path, results.path, html.path, [metrics.path, confusion.path], record=record
    ) as current:
        result = step.run(
            Path(draft.path), Path(dataset.path), EvaluateSettings.model_validate(settings), tracking_uri, model_name
        )
        typed_metrics.log_scalars(metrics, result)
        typed_metrics.log_classification(confusion, result)
        current.finish(result, report.section(result))
    return (result["gate"]["passed"], result["gate"]["passed"])
