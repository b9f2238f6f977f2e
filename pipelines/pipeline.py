"""The pipeline: prepare_data → select_model → train → compress → evaluate → gate → register → rollout → report.

The task `preflight` runs first. It checks everything that a later step will need, and returns the request of each step.
"""

from kfp import dsl

from slipway.components.compress.component import compress
from slipway.components.evaluate.component import evaluate
from slipway.components.kubeflow.kfp_pod import (
    COMPUTING,
    DATA,
    LIGHT,
    TRAINING,
    Resources,
    in_pod,
    with_api_key,
    with_encryption_key,
    with_hub,
    with_public_key,
)
from slipway.components.prepare_data.component import prepare_data
from slipway.components.register.component import register
from slipway.components.report.component import report
from slipway.components.rollout.component import rollout
from slipway.components.select_model.component import cross_validate
from slipway.components.train.component import train
from slipway.pipelines.preflight_component import preflight
from slipway.pipelines.settings import SlipwaySettings

DEFAULTS = SlipwaySettings()
NAME = "slipway"
PARALLEL = 4
"""Tasks of cross-validation at a time; each uses one thread. kfp.local runs two."""


def _cached(task: dsl.PipelineTask, resources: Resources) -> dsl.PipelineTask:
    """Equip the pod of a step that the cache may skip. Its input `version` changes when the step must run again."""
    return in_pod(task, resources).set_caching_options(True)


def _fresh(task: dsl.PipelineTask, resources: Resources) -> dsl.PipelineTask:
    """Equip the pod of a step that always runs."""
    return in_pod(task, resources).set_caching_options(False)


@dsl.pipeline(name="select-model")
def select_model(dataset: dsl.Input[dsl.Dataset], tasks: list[dict], version: str) -> list:
    """Score candidates by stratified cross-validation.

    The loop runs over the pipeline's own parameter, and its collected results are the pipeline's result: a shape that
    Kubeflow Pipelines and kfp.local run alike, fresh and from the cache. There is no condition around it, since the
    backend never notes that a branch of cached tasks ended.

    Args:
        dataset: Dataset folder of the step prepare_data; only its training split is used.
        tasks: What `step.plan` lists.
        version: As for cross_validate.

    Returns:
        What the tasks returned, a list of lists.
    """
    with dsl.ParallelFor(tasks, name="candidates", parallelism=PARALLEL) as task:
        scored = with_hub(_cached(cross_validate(dataset=dataset, task=task, version=version), COMPUTING))
    return dsl.Collected(scored.output)


@dsl.pipeline(name=NAME, display_name="Slipway")
def pipeline(
    source: str = DEFAULTS.data.source,
    text_column: str = DEFAULTS.data.text_column,
    label_column: str = DEFAULTS.data.label_column,
    model_name: str = DEFAULTS.model_name,
    encoder: str = DEFAULTS.train.encoder,
    epochs: int = DEFAULTS.train.epochs,
    processes: int = DEFAULTS.train.processes,
    min_macro_f1: float = DEFAULTS.evaluate.min_macro_f1,
    canary_steps: str = DEFAULTS.rollout.steps,
    settings: dict = {},  # noqa: B006  # kfp reads it
) -> None:
    """Labelled text and a pretrained encoder in; a small, signed model that takes over live traffic out.

    Args:
        source: Data file or folder on S3, or the name of a Hugging Face dataset.
        text_column: Column that holds the text.
        label_column: Column that holds the class.
        model_name: Name of the registered and served model.
        encoder: Pretrained encoder: minilm, a name on the Hugging Face hub, or a folder on S3.
        epochs: Passes over the training split.
        processes: Worker processes of the training.
        min_macro_f1: Macro-F1 that every version must reach on the test split.
        canary_steps: The new version's shares of traffic, in percent.
        settings: All other settings, by name, such as {"train.seed": 7}; `slipway settings` lists them.
    """
    closing_report = _fresh(report(model_name=model_name, settings=settings), LIGHT)
    with dsl.ExitHandler(closing_report, name="deliver"):
        requests = _fresh(
            preflight(
                source=source,
                text_column=text_column,
                label_column=label_column,
                model_name=model_name,
                encoder=encoder,
                epochs=epochs,
                processes=processes,
                min_macro_f1=min_macro_f1,
                canary_steps=canary_steps,
                settings=settings,
            ),
            DATA,  # not cached: what it checks may be gone since the last run
        )
        with_hub(with_encryption_key(requests))
        prepared = _cached(
            prepare_data(request=requests.outputs["prepare"], version=requests.outputs["data_version"]), DATA
        )
        with_hub(prepared)
        dataset = prepared.outputs["dataset"]
        scores = select_model(
            dataset=dataset, tasks=requests.outputs["compare"], version=requests.outputs["selection_version"]
        )
        trained = _cached(
            train(
                dataset=dataset,
                scores=scores.output,
                request=requests.outputs["train"],
                version=requests.outputs["training_version"],
            ),
            TRAINING,
        )
        with_hub(trained)
        compressed = _cached(
            compress(
                model=trained.outputs["model"],
                dataset=dataset,
                request=requests.outputs["compress"],
                version=requests.outputs["compression_version"],
            ),
            COMPUTING,
        )
        draft = compressed.outputs["draft"]
        # Not cached: the champion, with which the step compares, may have changed.
        evaluated = _fresh(evaluate(draft=draft, dataset=dataset, request=requests.outputs["evaluate"]), DATA)
        with_encryption_key(with_public_key(evaluated))
        # `Output` is the same as `passed`. In a condition kfp.local supports an output of this name only.
        with dsl.If(evaluated.outputs["Output"] == True, name="gate-passed"):  # noqa: E712  # kfp overloads ==
            # Not cached: the registry may have changed. The step itself recognises a bundle that is registered already.
            registered = _fresh(register(draft=draft, request=requests.outputs["register"]), LIGHT)
            with_encryption_key(registered)
            bundle = registered.outputs["bundle"]
            # Not cached: the step changes what is served.
            rolled_out = _fresh(rollout(bundle=bundle, dataset=dataset, request=requests.outputs["rollout"]), LIGHT)
            with_api_key(with_encryption_key(with_public_key(rolled_out)))
