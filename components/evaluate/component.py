"""The step `evaluate` as a pipeline component."""

from typing import NamedTuple

from kfp import dsl

from components.kfp_component import component


@component
def evaluate(
    draft: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    settings: dict,
    tracking_uri: str,
    model_name: str,
    evaluation: dsl.Output[dsl.Artifact],
    evaluation_report: dsl.Output[dsl.HTML],
    test_metrics: dsl.Output[dsl.Metrics],
    test_confusion: dsl.Output[dsl.ClassificationMetrics],
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
        evaluation: Results of the steps so far.
        evaluation_report: The gate's reasons, comparison with the champion, confusion, calibration, robustness.
        test_metrics: Scores of the challenger and its difference from the champion.
        test_confusion: Confusion matrix of the challenger; rows are true classes.
        record: URI below which pods keep the records of runs.

    Returns:
        passed: Whether the challenger may be registered.
        Output: The same, for conditions: in them kfp.local finds no output of another name, and goes on as if false.
    """
    from pathlib import Path

    from components import stage
    from components.evaluate import report, step
    from components.evaluate.settings import EvaluateSettings

    files = [test_metrics.path, test_confusion.path]
    with stage.running("evaluate", stage.results_in(draft.path), evaluation_report.path, files, record) as current:
        given = EvaluateSettings.model_validate(settings)
        result = step.run(Path(draft.path) / "bundle", Path(dataset.path), given, tracking_uri, model_name)
        for name, value in report.scalars(result).items():
            test_metrics.log_metric(name, value)
        square = [row[: len(result["labels"])] for row in result["challenger"]["confusion"]]
        test_confusion.log_confusion_matrix(result["labels"], square)
        current.finish(result, report.section(result), evaluation.path)
    return (result["gate"]["passed"], result["gate"]["passed"])
