"""The step `rollout` as a pipeline component."""

from kfp import dsl

from components.kfp_component import component


@component
def rollout(
    bundle: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    settings: dict,
    model_name: str,
    place: dict,
    served_model: dsl.Output[dsl.Model],
    rollout_report: dsl.Output[dsl.HTML],
    record: str = "",
) -> None:
    """Move live traffic to a registered version step by step; promote it or roll it back on the evidence.

    Args:
        bundle: What the step register made: version, where its bundle is stored, and the bundle's digest.
        dataset: The dataset whose test split is replayed as probes.
        settings: The section `rollout` of the settings.
        model_name: Name of the registered and served model.
        place: Where the model is served and registered; see Place.
        served_model: In its metadata name, version, digest and outcome, and the address of the service.
        rollout_report: The evidence over time, and what was decided.
        record: URI below which pods keep the records of runs.
    """
    from pathlib import Path

    from components import home, stage
    from components.rollout import report, step
    from components.rollout.settings import RolloutSettings
    from components.target import Place

    with stage.running("rollout", {}, rollout_report.path, [served_model.path], record) as current:
        where = Place.model_validate(place)
        result = step.run(
            *(str(bundle.metadata[name]) for name in ("version", "bundle_uri", "digest")),
            Path(dataset.path),
            RolloutSettings.model_validate(settings),
            where.tracking_uri,
            model_name,
            home.service(),
            Path(where.public_key),
            where.target,
            where.cluster,
        )
        served_model.metadata |= {"name": model_name, "bundle_uri": bundle.metadata["bundle_uri"]}
        served_model.metadata |= {name: str(result[name]) for name in ("version", "digest", "outcome")}
        served_model.metadata["address"] = result["endpoint"].get("rest", "")
        current.finish(result, report.section(result))
