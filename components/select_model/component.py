"""The step `select_model` as a pipeline of its own: plan, trainings of cross-validation in parallel, choice."""

from collections import namedtuple
from typing import NamedTuple

from kfp import dsl

from components.code import code_version
from components.image import IMAGE
from components.pod import COMPUTING, LIGHT, Resources, in_pod

PARALLEL = 2
"""Trainings of cross-validation at a time; each uses one thread."""


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def plan(
    settings: dict,
    train_settings: dict,
    record: str = "",
) -> NamedTuple("Plan", [("compare", bool), ("items", list)]):
    """Check the candidates and list the trainings of cross-validation.

    Args:
        settings: Section `select` of slipway.yaml; see SelectSettings.
        train_settings: Section `train` of slipway.yaml, which the candidates change.
        record: URI below which pods keep the records of runs.

    Returns:
        compare: Whether there is more than one candidate.
        items: One for each training: candidate, fold and settings.
    """
    from components import stage
    from components.select_model import step
    from components.select_model.settings import SelectSettings
    from components.train.settings import TrainSettings

    with stage.part("select_model", starts=True, record=record):
        items = step.plan(SelectSettings.model_validate(settings), TrainSettings.model_validate(train_settings))
    return (bool(items), items)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def cross_validate(
    dataset: dsl.Input[dsl.Dataset],
    item: dict,
    record: str = "",
    encoder_version: str = "",  # noqa: ARG001  # part of the cache's key
) -> dict:
    """Train one candidate without one fold, and score it on that fold.

    Args:
        dataset: Dataset folder of the step prepare_data; only its training split is used.
        item: Candidate, fold, and how to train: one of the items of `plan`.
        record: URI below which pods keep the records of runs.
        encoder_version: Any text that changes when the weights behind the encoders' names do, so that the cached
            outcome of others is not used.

    Returns:
        Scores, seconds and size.
    """
    from pathlib import Path

    from components import stage
    from components.select_model import step

    with stage.part("select_model", record=record):
        score = step.cross_validate(Path(dataset.path), item)
    return dict(score)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def collect(scores: list) -> list:
    """Make the scores of all trainings one value, which can stand beside that of the other branch.

    Args:
        scores: What the trainings returned.

    Returns:
        The same.
    """
    return scores


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def no_scores() -> list:
    """What a single candidate has in place of scores.

    Returns:
        An empty list.
    """
    return []


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def choose(
    dataset: dsl.Input[dsl.Dataset],
    settings: dict,
    train_settings: dict,
    scores: list,
    results_before: dsl.Input[dsl.Artifact],
    results: dsl.Output[dsl.Artifact],
    html: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    record: str = "",
) -> dict:
    """Pick a candidate by the one-standard-error rule.

    Args:
        dataset: Dataset folder of the step prepare_data.
        settings: Section `select` of slipway.yaml; see SelectSettings.
        train_settings: Section `train` of slipway.yaml, which the candidates change.
        scores: What the trainings of cross-validation returned; empty with a single candidate.
        results_before: Results of the steps so far.
        results: Results of all steps so far.
        html: The candidates with their scores, as a picture and a table.
        metrics: Mean macro-F1 of the chosen candidate and of the best, number of candidates.
        record: URI below which pods keep the records of runs.

    Returns:
        The settings that the chosen candidate changes.
    """
    from pathlib import Path

    from components import scalar_metrics, stage
    from components.select_model import report, step
    from components.select_model.settings import SelectSettings
    from components.train.settings import TrainSettings

    with stage.running(
        "select_model", results_before.path, results.path, html.path, [metrics.path], starts=False, record=record
    ) as current:
        result = step.choose(
            Path(dataset.path),
            SelectSettings.model_validate(settings),
            TrainSettings.model_validate(train_settings),
            scores,
        )
        scalar_metrics.log(metrics, report.scalars(result), "cross-validation")
        current.finish(result, report.section(result))
    return dict(result["choice"])


def _task(task: dsl.PipelineTask, resources: Resources = LIGHT) -> dsl.PipelineTask:
    """Let the cache skip a task whose inputs and code did not change."""
    return in_pod(task, resources).set_env_variable("SLIPWAY_CODE_VERSION", code_version("select_model", "train"))


@dsl.pipeline(name="select-model")
def select_model(
    dataset: dsl.Input[dsl.Dataset],
    settings: dict,
    train_settings: dict,
    results_before: dsl.Input[dsl.Artifact],
    record: str = "",
    encoder_version: str = "",
) -> NamedTuple("Selection", [("choice", dict), ("results", dsl.Artifact)]):
    """Compare candidates by stratified cross-validation and pick one by the one-standard-error rule.

    Args:
        dataset: Dataset folder of the step prepare_data; only its training split is used.
        settings: Section `select` of slipway.yaml; see SelectSettings.
        train_settings: Section `train` of slipway.yaml, which the candidates change.
        results_before: Results of the steps so far.
        record: URI below which pods keep the records of runs.
        encoder_version: As for the step train.

    Returns:
        choice: The settings that the chosen candidate changes.
        results: Results of all steps so far.
    """
    planned = _task(plan(settings=settings, train_settings=train_settings, record=record))
    with dsl.If(planned.outputs["compare"] == True, name="several-candidates"):  # noqa: E712  # kfp overloads ==
        with dsl.ParallelFor(planned.outputs["items"], name="folds", parallelism=PARALLEL) as item:
            scored = _task(
                cross_validate(dataset=dataset, item=item, record=record, encoder_version=encoder_version), COMPUTING
            )
        collected = _task(collect(scores=dsl.Collected(scored.output)))
    with dsl.Else(name="one-candidate"):
        nothing = _task(no_scores())
    chosen = _task(
        choose(
            dataset=dataset,
            settings=settings,
            train_settings=train_settings,
            scores=dsl.OneOf(collected.output, nothing.output),
            results_before=results_before,
            record=record,
        )
    )
    outputs = namedtuple("outputs", ["choice", "results"])  # noqa: PYI024  # kfp takes its fields as outputs
    return outputs(chosen.outputs["Output"], chosen.outputs["results"])
