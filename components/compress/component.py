"""The step `compress` as a pipeline component."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compress(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    settings: dict,
    model_name: str,
    code_version: str,
    results_before: dsl.Input[dsl.Artifact],
    draft: dsl.Output[dsl.Model],
    results: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    record: str = "",
    work: str = "",
) -> None:
    """Make smaller and faster variants of the trained classifier and deliver the best that is good enough.

    Args:
        model: Checkpoint folder of the trained classifier, the teacher.
        dataset: Dataset folder that it was trained on.
        settings: Section `compress` of slipway.yaml.
        model_name: Name of the model in the bundle.
        code_version: Version of the code that made it; a change of it makes cached results invalid.
        results_before: Results of the steps so far.
        draft: Draft bundle of the chosen variant.
        results: Results of all steps so far.
        html: The Pareto chart, and the table of all variants with reasons.
        metrics: Macro-F1, latency and size of the chosen variant, and how many times faster it is than the teacher.
        record: URI below which pods keep the records of runs.
        work: Folder that outlives a killed search; it holds what searches that did not end have trained.
    """
    from pathlib import Path

    from components import scalar_metrics, stage
    from components.compress import report, step
    from components.compress.settings import CompressSettings

    with stage.running(
        "compress", results_before.path, results.path, html.path, [metrics.path], record=record
    ) as current:
        result = step.run(
            Path(model.path),
            Path(dataset.path),
            CompressSettings.model_validate(settings),
            model_name,
            code_version,
            Path(draft.path),
            Path(work) if work else None,
        )
        chosen = next(row for row in result["candidates"] if row["chosen"])
        latency, teacher = chosen["latency_ms"]["1"], result["teacher"]["latency_ms"]["1"]
        values = {name: chosen[name] for name in ("macro_f1", "accuracy", "size_bytes")}
        values |= {"latency_ms_batch_1": latency, "times_faster": teacher / latency}
        scalar_metrics.log(metrics, values, "validation")
        current.finish(result, report.section(result))
