"""The step `preflight` as a pipeline component. It runs first, so that a bad setting ends the run before the training,
however the run was started.
"""

from typing import NamedTuple

from slipway.components.step_runtime.kfp_component import component


@component
def preflight(
    source: str,
    text_column: str,
    label_column: str,
    model_name: str,
    encoder: str,
    epochs: int,
    processes: int,
    min_macro_f1: float,
    canary_steps: str,
    settings: dict,
) -> NamedTuple(
    "Requests",
    [
        ("prepare", dict),
        ("compare", list[dict]),
        ("train", dict),
        ("compress", dict),
        ("evaluate", dict),
        ("register", dict),
        ("rollout", dict),
        ("data_version", str),
        ("selection_version", str),
        ("training_version", str),
        ("compression_version", str),
    ],
):
    """Check every setting, the encoders, the stores, the tracking server, and the cluster or the ports here.

    Args:
        source: The setting `data.source`, and so on for the other fields of the form; see
            `slipway.pipelines.pipeline_parameters`.
        text_column: `data.text_column`.
        label_column: `data.label_column`.
        model_name: Name of the registered and served model.
        encoder: `train.encoder`.
        epochs: `train.epochs`.
        processes: `train.processes`.
        min_macro_f1: `evaluate.min_macro_f1`.
        canary_steps: `rollout.steps`.
        settings: All other settings that differ from their defaults.

    Returns:
        The request of each step; see `slipway.pipelines.step_requests`.
    """
    form = dict(locals())
    from slipway.pipelines import preflight

    return preflight.run(form)
