"""The step `prepare_data` as a pipeline component."""

from kfp import dsl

from slipway.components.step_runtime.kfp_component import component


@component
def prepare_data(
    request: dict,
    version: str,  # noqa: ARG001  # part of the cache's key
    dataset: dsl.Output[dsl.Dataset],
    data_report: dsl.Output[dsl.HTML],
    data_counts: dsl.Output[dsl.Metrics],
) -> None:
    """Turn labelled text from any source into clean, distinct, stratified splits.

    Args:
        request: Section `data`, and the encoder whose tokens are counted; see StepRequest and DataSettings.
        version: Any text that changes when this step's code or the data of the source change. The cache then does not
            use an earlier result.
        dataset: Dataset folder with Arrow splits, labels.json, dataset.json, and the results of the steps so far.
        data_report: What was read, removed and kept.
        data_counts: Rows read, texts kept, duplicates removed, number of classes.
    """
    from pathlib import Path

    from slipway.components.prepare_data import report, step
    from slipway.components.prepare_data.settings import DataSettings
    from slipway.components.step_runtime import scalar_metrics, step_context
    from slipway.components.step_runtime.step_request import StepRequest

    step_request = StepRequest.model_validate(request)
    with step_context.running("prepare_data", {}, data_report.path, [data_counts.path], step_request.record) as current:
        settings = DataSettings.model_validate(step_request.settings)
        result = step.run(settings, Path(dataset.path), step_request.encoder, step_request.max_length)
        dataset.metadata["digest"] = result.digest
        dataset.metadata["rows"] = result.rows_kept
        scalar_metrics.log(data_counts, report.scalars(result))
        current.finish(result, report.section(result), dataset.path)
