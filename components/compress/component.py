"""The step `compress` as a pipeline component."""

from kfp import dsl

from components.kfp_component import component


@component
def compress(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    settings: dict,
    model_name: str,
    version: str,
    draft: dsl.Output[dsl.Model],
    compression_report: dsl.Output[dsl.HTML],
    compression_metrics: dsl.Output[dsl.Metrics],
    record: str = "",
) -> None:
    """Make smaller and faster variants of the trained classifier and deliver the best that is good enough.

    Args:
        model: Checkpoint folder of the trained classifier, the teacher.
        dataset: Dataset folder that it was trained on.
        settings: Section `compress` of slipway.yaml.
        model_name: Name of the model in the bundle.
        version: Version of the code that made it, noted in the bundle; a change of it makes cached results invalid.
        draft: The draft bundle of the chosen variant, in the folder `bundle`, beside the results of the steps so far.
        compression_report: The Pareto chart, and the table of all variants with reasons.
        compression_metrics: Macro-F1, latency and size of the chosen variant, and how many times faster it is than
            the teacher.
        record: URI below which pods keep the records of runs.
    """
    from pathlib import Path

    from components import home, stage
    from components.compress import report, step
    from components.compress.settings import CompressSettings

    results = stage.results_in(model.path)
    with stage.running("compress", results, compression_report.path, [compression_metrics.path], record) as current:
        result = step.run(
            Path(model.path),
            Path(dataset.path),
            CompressSettings.model_validate(settings),
            model_name,
            version,
            Path(draft.path) / "bundle",
            home.work(),
        )
        for name, value in report.scalars(result).items():
            compression_metrics.log_metric(name, value)
        current.finish(result, report.section(result), draft.path)
