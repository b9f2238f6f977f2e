"""The step `prepare_data` as a pipeline component."""

from kfp import dsl

from components.kfp_component import component


@component
def prepare_data(
    settings: dict,
    version: str,  # noqa: ARG001  # part of the cache's key
    dataset: dsl.Output[dsl.Dataset],
    data_report: dsl.Output[dsl.HTML],
    data_counts: dsl.Output[dsl.Metrics],
    record: str = "",
) -> None:
    """Turn labelled text from anywhere into clean, distinct, stratified splits.

    Args:
        settings: Section `data` of slipway.yaml; see DataSettings.
        version: Any text that changes when this step's code or the data behind the source does, so that the cached
            outcome of others is not used.
        dataset: Dataset folder with Arrow splits, labels.json, dataset.json, and the results of the steps so far.
        data_report: What was read, removed and kept.
        data_counts: Rows read, texts kept, duplicates removed, number of classes.
        record: URI below which pods keep the records of runs.
    """
    from pathlib import Path

    from components import stage
    from components.prepare_data import report, step
    from components.prepare_data.settings import DataSettings

    with stage.running("prepare_data", {}, data_report.path, [data_counts.path], record) as current:
        result = step.run(DataSettings.model_validate(settings), Path(dataset.path))
        dataset.metadata["digest"] = result["digest"]
        dataset.metadata["rows"] = result["rows_kept"]
        for name, value in report.scalars(result).items():
            data_counts.log_metric(name, value)
        current.finish(result, report.section(result), dataset.path)
