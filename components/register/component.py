"""The step `register` as a pipeline component."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    draft: dsl.Input[dsl.Model],
    settings: dict,
    tracking_uri: str,
    model_name: str,
    run: str,
    results_before: dsl.Input[dsl.Artifact],
    results: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    record: str = "",
) -> NamedTuple("Outputs", [("version", str), ("bundle_uri", str), ("digest", str)]):
    """Complete, sign and store the bundle, and register it in MLflow as the challenger.

    Args:
        draft: Draft bundle of the step compress.
        settings: Section `registry` of slipway.yaml; see RegistrySettings.
        tracking_uri: The MLflow tracking server with the model registry.
        model_name: Name of the registered and served model.
        run: The pipeline run, noted in bundle and registry; empty for the id that its pod has.
        results_before: Results of the steps so far; the model card is made of them.
        results: Results of all steps so far.
        html: Version, lineage, files and model card.
        record: URI below which pods keep the records of runs.

    Returns:
        version: The version in the registry.
        bundle_uri: Where the signed bundle is stored.
        digest: Digest of the bundle.
    """
    from pathlib import Path

    from components import run_record, stage
    from components.register import report, step
    from components.register.settings import RegistrySettings

    with stage.running("register", results_before.path, results.path, html.path, record=record) as current:
        result = step.run(
            Path(draft.path),
            current.results,
            RegistrySettings.model_validate(settings),
            tracking_uri,
            model_name,
            run_record.run_name(run),
        )
        current.finish(result, report.section(result))
    return (result["version"], result["bundle_uri"], result["digest"])
