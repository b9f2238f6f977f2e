"""The step `prepare_data` as a pipeline component."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare_data(
    settings: dict,
    source_version: str,  # noqa: ARG001  # part of the cache's key
    dataset: dsl.Output[dsl.Dataset],
    results: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    record: str = "",
) -> None:
    """Turn labelled text from anywhere into clean, distinct, stratified splits.

    Args:
        settings: Section `data` of slipway.yaml; see DataSettings.
        source_version: Any text that changes when the data behind the source does, so that the cached outcome of
            other data is not used.
        dataset: Dataset folder with Arrow splits, labels.json and dataset.json.
        results: Results of all steps so far.
        html: The data report.
        metrics: Rows read, texts kept, duplicates removed, number of classes.
        record: URI below which pods keep the records of runs.
    """
    from pathlib import Path

    from components import stage
    from components.prepare_data import report, step
    from components.prepare_data.settings import DataSettings

    with stage.running("prepare_data", None, results.path, html.path, [metrics.path], record=record) as current:
        result = step.run(DataSettings.model_validate(settings), Path(dataset.path))
        dataset.metadata["digest"] = result["digest"]
        dataset.metadata["rows"] = result["rows_kept"]
        for name in ("rows_read", "rows_kept"):
            metrics.log_metric(name, result[name])
        for name in ("exact", "near"):
            metrics.log_metric(f"{name}_duplicates", result["removed"].get(f"{name} duplicate", 0))
        metrics.log_metric("classes", len(result["labels"]))
        current.finish(result, report.section(result))
