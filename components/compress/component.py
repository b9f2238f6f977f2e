"""The step `compress` as a pipeline component."""

from kfp import dsl

from slipway.components.step_runtime.kfp_component import component


@component
def compress(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    request: dict,
    version: str,
    draft: dsl.Output[dsl.Model],
    compression_report: dsl.Output[dsl.HTML],
    compression_metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Make smaller and faster variants of the trained classifier and deliver the best that is good enough.

    Args:
        model: Checkpoint folder of the trained classifier, the teacher.
        dataset: Dataset folder that it was trained on.
        request: Section `compress`, and the name of the model in the bundle; see StepRequest and CompressSettings.
        version: Version of this step's code, which is written to the bundle. When it changes, the cache does not use an
            earlier result.
        draft: The draft bundle of the chosen variant, in the folder `bundle`, beside the results of the steps so far.
        compression_report: The Pareto chart, and the table of all variants with reasons.
        compression_metrics: Macro-F1, latency and size of the chosen variant, and how many times faster it is than
            the teacher.
    """
    from pathlib import Path

    from slipway.components.compress import report, step
    from slipway.components.compress.settings import CompressSettings
    from slipway.components.machine import home
    from slipway.components.step_runtime import scalar_metrics, step_context
    from slipway.components.step_runtime.step_request import StepRequest

    step_request, results = StepRequest.model_validate(request), step_context.results_in(model.path)
    with step_context.running(
        "compress", results, compression_report.path, [compression_metrics.path], step_request.record
    ) as current:
        result = step.run(
            Path(model.path),
            Path(dataset.path),
            CompressSettings.model_validate(step_request.settings),
            step_request.model_name,
            version,
            Path(draft.path) / "bundle",
            home.work(),
        )
        scalar_metrics.log(compression_metrics, report.scalars(result), "validation")
        current.finish(result, report.section(result), draft.path)
