"""The step `register` as a pipeline component."""

from kfp import dsl

from slipway.components.step_runtime.kfp_component import component


@component
def register(
    draft: dsl.Input[dsl.Model],
    request: dict,
    bundle: dsl.Output[dsl.Model],
    registration_report: dsl.Output[dsl.HTML],
) -> None:
    """Complete, sign and store the bundle, and register it in MLflow as the challenger.

    Args:
        draft: Draft bundle of the step compress.
        request: Section `registry`, the tracking server, and the name of the model; see StepRequest and
            RegistrySettings.
        bundle: Its metadata are the model's name and version in the registry, and the URI and the digest of the signed
            bundle. Its content is the model card.
        registration_report: Version, lineage, files and model card.
    """
    from pathlib import Path

    from slipway.components.register import report, step
    from slipway.components.register.settings import RegistrySettings
    from slipway.components.step_runtime import run_record, step_context
    from slipway.components.step_runtime.step_request import StepRequest

    step_request = StepRequest.model_validate(request)
    # The model card needs all results. The draft lacks that of `evaluate`, which is in the record of the run only.
    results = step_context.results_in(draft.path) | step_context.record(store=step_request.record).results
    with step_context.running("register", results, registration_report.path, record=step_request.record) as current:
        settings, folder = RegistrySettings.model_validate(step_request.settings), Path(draft.path) / "bundle"
        run = run_record.run_name()
        result = step.run(folder, results, settings, step_request.tracking_uri, step_request.model_name, run)
        bundle.metadata["name"] = step_request.model_name
        for name in ("version", "bundle_uri", "digest"):
            bundle.metadata[name] = getattr(result, name)
        Path(bundle.path).write_text(result.model_card, "utf-8")
        current.finish(result, report.section(result))
