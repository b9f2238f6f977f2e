"""The step `rollout` as a pipeline component."""

from kfp import dsl

from slipway.components.step_runtime.kfp_component import component


@component
def rollout(
    bundle: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    request: dict,
    served_model: dsl.Output[dsl.Model],
    rollout_report: dsl.Output[dsl.HTML],
) -> None:
    """Move live traffic to a registered version step by step; promote it or roll it back on the evidence.

    Args:
        bundle: What the step register made: version, where its bundle is stored, and the bundle's digest.
        dataset: The dataset whose test split is replayed as probes.
        request: Section `rollout`, the name of the model, and where it is served and registered; see StepRequest and
            RolloutSettings.
        served_model: In its metadata name, version, digest and outcome, and the address of the service.
        rollout_report: The evidence over time, and what was decided.
    """
    from pathlib import Path

    from slipway.components.machine import home
    from slipway.components.rollout import report, step
    from slipway.components.rollout.request import RolloutRequest
    from slipway.components.rollout.settings import RolloutSettings
    from slipway.components.step_runtime import step_context
    from slipway.components.step_runtime.step_request import StepRequest

    step_request = StepRequest.model_validate(request)
    with step_context.running("rollout", {}, rollout_report.path, [served_model.path], step_request.record) as current:
        registered = {name: bundle.metadata[name] for name in ("version", "bundle_uri", "digest")}
        result = step.run(
            RolloutRequest(
                **registered,
                dataset=Path(dataset.path),
                settings=RolloutSettings.model_validate(step_request.settings),
                floor=step_request.floor,
                tracking_uri=step_request.tracking_uri,
                model_name=step_request.model_name,
                service=home.service(),
                public_key=Path(step_request.public_key),
                target=step_request.target,
                cluster=step_request.cluster,
            )
        )
        served_model.metadata["name"] = step_request.model_name
        served_model.metadata["bundle_uri"] = bundle.metadata["bundle_uri"]
        for name in ("version", "digest", "outcome"):
            served_model.metadata[name] = str(getattr(result, name))
        served_model.metadata["address"] = result.endpoint.rest
        current.finish(result, report.section(result))
