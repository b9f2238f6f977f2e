"""The step `register` as a pipeline component."""

from kfp import dsl

from components.kfp_component import component


@component
def register(
    draft: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    settings: dict,
    tracking_uri: str,
    model_name: str,
    bundle: dsl.Output[dsl.Model],
    registration_report: dsl.Output[dsl.HTML],
    record: str = "",
) -> None:
    """Complete, sign and store the bundle, and register it in MLflow as the challenger.

    Args:
        draft: Draft bundle of the step compress.
        evaluation: Results of the steps so far; the model card is made of them.
        settings: Section `registry` of slipway.yaml; see RegistrySettings.
        tracking_uri: The MLflow tracking server with the model registry.
        model_name: Name of the registered and served model.
        bundle: In its metadata the model's name and version in the registry, where the signed bundle is stored, and
            its digest; as content the model card.
        registration_report: Version, lineage, files and model card.
        record: URI below which pods keep the records of runs.
    """
    from pathlib import Path

    from components import run_record, stage
    from components.register import report, step
    from components.register.settings import RegistrySettings

    results = stage.results_in(evaluation.path)
    with stage.running("register", results, registration_report.path, record=record) as current:
        given = RegistrySettings.model_validate(settings)
        run = run_record.run_name()
        result = step.run(Path(draft.path) / "bundle", results, given, tracking_uri, model_name, run)
        bundle.metadata["name"] = model_name
        for name in ("version", "bundle_uri", "digest"):
            bundle.metadata[name] = result[name]
        Path(bundle.path).write_text(result["model_card"], "utf-8")
        current.finish(result, report.section(result))
