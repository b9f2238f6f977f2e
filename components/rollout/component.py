"""The step `rollout` as a pipeline component."""

from typing import NamedTuple

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def rollout(
    version: str,
    bundle_uri: str,
    digest: str,
    dataset: dsl.Input[dsl.Dataset],
    settings: dict,
    tracking_uri: str,
    model_name: str,
    service: str,
    public_key: str,
    target: str,
    cluster: dict,
    results_before: dsl.Input[dsl.Artifact],
    results: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    record: str = "",
) -> NamedTuple("Outputs", [("outcome", str)]):
    """Move live traffic to a registered version step by step; promote it or roll it back on the evidence.

    Args:
        version: The version in the registry.
        bundle_uri: Where its bundle is stored: a folder or `s3://bucket/prefix`.
        digest: The bundle's digest, as registered.
        dataset: The dataset whose test split is replayed as probes.
        settings: The section `rollout` of the settings.
        tracking_uri: The MLflow tracking server with the registry.
        model_name: Name of the registered and served model.
        service: The folder of the service on the machine that serves.
        public_key: PEM file of the signer whose bundles are served.
        target: `auto`, `local` or `kubernetes`: model servers on this machine, or an InferenceService.
        cluster: The section `cluster` of the settings.
        results_before: Results of the steps before.
        results: Results so far, with this step's.
        html: This step's section of the report.
        record: URI below which pods keep the records of runs.

    Returns:
        outcome: `promoted`, `rolled_back`, `held` or `already_champion`.
    """
    from pathlib import Path

    from components import stage
    from components.cluster import ClusterSettings
    from components.rollout import report, step
    from components.rollout.settings import RolloutSettings

    with stage.running("rollout", results_before.path, results.path, html.path, record=record) as current:
        result = step.run(
            version,
            bundle_uri,
            digest,
            Path(dataset.path),
            RolloutSettings.model_validate(settings),
            tracking_uri,
            model_name,
            Path(service),
            Path(public_key),
            target,
            ClusterSettings.model_validate(cluster),
        )
        current.finish(result, report.section(result))
    return (result["outcome"],)
