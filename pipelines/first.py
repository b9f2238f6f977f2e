"""The pipeline's first step: what is known to be wrong is told before hours are spent, however the run was started."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preflight(
    model_name: str,
    data: dict,
    select: dict,
    train: dict,
    compress: dict,
    evaluate: dict,
    registry: dict,
    rollout: dict,
    cluster: dict,
    target: str,
    tracking_uri: str,
    service: str,
    record: str = "",
) -> None:
    """Check every setting, the encoders, the stores, the tracking server, and the cluster or the ports here.

    Args:
        model_name: Name of the registered and served model.
        data: Section `data` of slipway.yaml, and so on for the others; see SlipwaySettings.
        select: Section `select`.
        train: Section `train`.
        compress: Section `compress`.
        evaluate: Section `evaluate`.
        registry: Section `registry`.
        rollout: Section `rollout`.
        cluster: Section `cluster`.
        target: Where trainings compute and the model is served.
        tracking_uri: The MLflow tracking server.
        service: Folder of the service that the target `local` runs.
        record: URI below which pods keep the records of runs.
    """
    from pathlib import Path

    from components import stage
    from pipelines.preflight import check
    from pipelines.settings import checked

    with stage.part("preflight", starts=True, record=record):
        settings = checked(
            {
                "model_name": model_name,
                "data": data,
                "select": select,
                "train": train,
                "compress": compress,
                "evaluate": evaluate,
                "registry": registry,
                "rollout": rollout,
                "cluster": cluster,
                "target": target,
                "tracking_uri": tracking_uri,
            }
        )
        check(settings, Path(service))
