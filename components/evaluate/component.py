"""The step `evaluate` as a pipeline component."""

from typing import NamedTuple

from kfp import dsl

from slipway.components.step_runtime.kfp_component import component


@component
def evaluate(
    draft: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    request: dict,
    evaluation_report: dsl.Output[dsl.HTML],
    test_metrics: dsl.Output[dsl.Metrics],
    test_confusion: dsl.Output[dsl.ClassificationMetrics],
) -> NamedTuple("Outputs", [("passed", bool), ("Output", bool)]):
    """Compare a challenger with the champion on the test split; the quality gate decides, with reasons.

    A refused challenger is a result, not a failure: the step succeeds and `passed` is false.

    Args:
        draft: Draft bundle of the step compress.
        dataset: Dataset folder of the step prepare_data.
        request: Section `evaluate`, the tracking server, and the name of the model; see StepRequest and
            EvaluateSettings.
        evaluation_report: The gate's reasons, comparison with the champion, confusion, calibration, robustness.
        test_metrics: Scores of the challenger and its difference from the champion.
        test_confusion: Confusion matrix of the challenger, rows are true classes; the ROC curve where there are two.

    Returns:
        passed: Whether the challenger may be registered.
        Output: The same, for conditions. With an output of another name kfp.local takes every condition for false.
    """
    from pathlib import Path

    from slipway.components.evaluate import report, step, typed_metrics
    from slipway.components.evaluate.settings import EvaluateSettings
    from slipway.components.learning import baselines
    from slipway.components.step_runtime import step_context
    from slipway.components.step_runtime.step_request import StepRequest

    step_request, metadata_only = StepRequest.model_validate(request), [test_metrics.path, test_confusion.path]
    results = step_context.results_in(draft.path)
    with step_context.running(
        "evaluate", results, evaluation_report.path, metadata_only, step_request.record
    ) as current:
        settings, bundle = EvaluateSettings.model_validate(step_request.settings), Path(draft.path) / "bundle"
        registry_arguments = (step_request.tracking_uri, step_request.model_name, Path(step_request.public_key))
        result = step.run(bundle, Path(dataset.path), settings, *registry_arguments)
        result = result.model_copy(update={"baselines": baselines.found_in(results)})
        typed_metrics.log_scalars(test_metrics, result)
        typed_metrics.log_classification(test_confusion, result)
        current.finish(result, report.section(result))
    return (result.gate.passed, result.gate.passed)
