"""The step `train` as a pipeline component."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    dataset: dsl.Input[dsl.Dataset],
    choice: dict,
    settings: dict,
    tracking_uri: str,
    work: str,
    target: str,
    cluster: dict,
    results_before: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    results: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    record: str = "",
    encoder_version: str = "",  # noqa: ARG001  # part of the cache's key
) -> None:
    """Fine-tune an encoder to classify texts, with data-parallel workers; a killed training goes on where it was.

    Args:
        dataset: Dataset folder of the step prepare_data.
        choice: Settings that the step select_model chose; they override `settings`.
        settings: Section `train` of slipway.yaml; see TrainSettings.
        tracking_uri: The MLflow tracking server, which gets parameters and curves while the training goes on.
        work: Folder that outlives a killed task; it holds the checkpoints of trainings that did not end.
        target: `auto`, `local` or `kubernetes`: workers on this machine, or in the pods of a PyTorchJob.
        cluster: Section `cluster` of slipway.yaml; see ClusterSettings.
        results_before: Results of the steps so far.
        model: Checkpoint folder with the weights of the best epoch.
        results: Results of all steps so far.
        html: Learning curves, scores and settings.
        metrics: Validation loss, macro-F1 and accuracy, the seconds that the training took, and the ε of a private one.
        record: URI below which pods keep the records of runs.
        encoder_version: Any text that changes when the weights behind the encoder's name do, so that the cached
            outcome of others is not used.
    """
    from pathlib import Path

    from components import scalar_metrics, stage
    from components.cluster import ClusterSettings
    from components.train import launchers, report, step
    from components.train.settings import TrainSettings

    with stage.running("train", results_before.path, results.path, html.path, [metrics.path], record=record) as current:
        result = step.run(
            Path(dataset.path),
            choice,
            TrainSettings.model_validate(settings),
            Path(model.path),
            Path(work),
            tracking_uri,
            launchers.launcher_for(target, ClusterSettings.model_validate(cluster)),
        )
        model.metadata["dataset_digest"] = result["dataset_digest"]
        model.metadata["mlflow_run_id"] = result["mlflow_run_id"]
        privacy = result.get("privacy") or {}
        values = {**result["validation"], "seconds": result["seconds"], "privacy_epsilon": privacy.get("epsilon")}
        scalar_metrics.log(metrics, values, "validation")
        current.finish(result, report.section(result))
