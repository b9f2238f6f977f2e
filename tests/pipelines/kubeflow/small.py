"""A small pipeline in the shape that the backend runs well, for tests that put one fault into it.

Preflight always runs and hands on settings; a nested pipeline loops over its own parameter and returns what is
collected; an exit task reports.
"""

# kfp has no types, takes no parametrised dict in an annotation, and makes a type of a NamedTuple call:
# mypy: disable-error-code="untyped-decorator, type-arg, valid-type, no-any-return"
# The steps call what is not there; they are compiled, and never run:
# mypy: disable-error-code="attr-defined"

from typing import NamedTuple

from kfp import dsl, kubernetes

IMAGE = "slipway:1"
# ruff: noqa: ARG001  # the version is part of the cache's key


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preflight(model_name: str, settings: dict) -> NamedTuple(
    "Found", [("train", dict), ("shares", list[dict]), ("version", str)]
):
    from slipway.components.step_runtime import step_context

    return step_context.preflight(model_name, settings)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare(settings: dict, version: str, dataset: dsl.Output[dsl.Dataset]) -> None:
    from slipway.components.step_runtime import step_context

    step_context.prepare(settings, dataset.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def compare(dataset: dsl.Input[dsl.Dataset], share: dict, version: str) -> dict:
    from slipway.components.step_runtime import step_context

    return step_context.compare(dataset.path, share)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    dataset: dsl.Input[dsl.Dataset], scores: list, settings: dict, version: str, model: dsl.Output[dsl.Model]
) -> bool:
    from slipway.components.step_runtime import step_context

    return step_context.train(dataset.path, scores, settings, model.path)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deliver(model: dsl.Input[dsl.Model], model_name: str) -> None:
    from slipway.components.step_runtime import step_context

    step_context.deliver(model.path, model_name)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(model_name: str, status: dsl.PipelineTaskFinalStatus) -> None:
    from slipway.components.step_runtime import step_context

    step_context.report(model_name, status)


@dsl.pipeline(name="folds")
def folds(shares: list[dict], dataset: dsl.Input[dsl.Dataset], version: str) -> list:
    with dsl.ParallelFor(shares, parallelism=2) as share:
        compared = compare(dataset=dataset, share=share, version=version)
    return dsl.Collected(compared.output)


@dsl.pipeline(name="small")
def small(model_name: str = "messages", settings: dict = {"epochs": 3.0}) -> None:  # noqa: B006  # kfp's defaults
    closing = report(model_name=model_name).set_caching_options(False)
    with dsl.ExitHandler(closing, name="deliver"):
        looked = preflight(model_name=model_name, settings=settings).set_caching_options(False)
        version = looked.outputs["version"]
        prepared = prepare(settings=settings, version=version)
        compared = folds(shares=looked.outputs["shares"], dataset=prepared.outputs["dataset"], version=version)
        trained = train(
            dataset=prepared.outputs["dataset"],
            scores=compared.output,
            settings=looked.outputs["train"],
            version=version,
        )
        kubernetes.use_secret_as_env(trained, "store", {"key": "KEY"}, optional=True)
        kubernetes.set_security_context(trained, run_as_non_root=True)
        with dsl.If(trained.outputs["Output"] == True, name="good-enough"):  # noqa: E712  # kfp overloads ==
            deliver(model=trained.outputs["model"], model_name=model_name).set_caching_options(False)
