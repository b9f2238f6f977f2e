"""The pipeline: prepare_data → select_model → train → compress → evaluate → gate → register → rollout → report.

Before them all, the task `preflight` looks at everything that one of them will need.
"""

from kfp import dsl

from components.code import code_version
from components.compress.component import compress as compress_step
from components.evaluate.component import evaluate as evaluate_step
from components.image import PUBLIC_KEY_FOLDER, SIGNING_FOLDER
from components.pod import (
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
    with_signing_key,
)
from components.prepare_data.component import prepare_data
from components.register.component import register
from components.report.component import report
from components.rollout.component import rollout as rollout_step
from components.select_model.component import select_model
from components.train.component import train as train_step
from pipelines import for_cluster
from pipelines.first import preflight
from pipelines.settings import SlipwaySettings, fields

DEFAULTS = SlipwaySettings()
SECTIONS = ("data", "select", "train", "compress", "evaluate", "registry", "rollout", "cluster")
IN_CLUSTER = {
    "registry": {"store": f"s3://slipway/{for_cluster.BUNDLES}", "keys": SIGNING_FOLDER},
    "cluster": {"store": "s3://slipway"},
}
"""Defaults of a run on Kubeflow Pipelines, as `manifests/` sets a cluster up."""
VALUES = {
    section: getattr(DEFAULTS, section).model_dump(mode="json") | IN_CLUSTER.get(section, {}) for section in SECTIONS
}
NAME = "slipway"
CODE = {
    "prepare_data": code_version("prepare_data"),
    "train": code_version("train"),
    "compress": code_version("compress", "train", "evaluate"),
}
"""The code version of each step that the cache may skip; the pipeline select_model names that of its own tasks."""


def _help(section: str) -> str:
    """One line on every setting of a section, for the description of a pipeline parameter."""
    own = [field for field in fields() if field.name.startswith(f"{section}.")]
    return "; ".join(
        f"{field.name.partition('.')[2]}: {field.meaning}" + (f" ({field.unit})" if field.unit else "") for field in own
    )


def _step(task: dsl.PipelineTask, resources: Resources, code: str = "") -> dsl.PipelineTask:
    """Equip a step's pod, and name the code version, so that the cache does not skip a step whose code changed.

    Args:
        task: the step.
        resources: of its pod.
        code: name in `CODE`; empty for a step that always runs.
    """
    if code:
        task.set_env_variable("SLIPWAY_CODE_VERSION", CODE[code])
    return in_pod(task, resources).set_caching_options(bool(code))


def slipway(
    model_name: str = DEFAULTS.model_name,
    data: dict = VALUES["data"],
    select: dict = VALUES["select"],
    train: dict = VALUES["train"],
    compress: dict = VALUES["compress"],
    evaluate: dict = VALUES["evaluate"],
    registry: dict = VALUES["registry"],
    rollout: dict = VALUES["rollout"],
    cluster: dict = VALUES["cluster"],
    target: str = DEFAULTS.target,
    tracking_uri: str = for_cluster.IN_CLUSTER,
    work: str = "/tmp/slipway/work",
    service: str = "/tmp/slipway/service",
    public_key: str = f"{PUBLIC_KEY_FOLDER}/public.pem",
    record: str = f"{IN_CLUSTER['cluster']['store']}/{for_cluster.RUNS}",
    source_version: str = "",
    encoder_version: str = "",
    run: str = "",
) -> None:
    """Labelled text and a pretrained encoder in; a small, signed model that takes over live traffic out.

    Args:
        model_name: Name of the registered and served model.
        data: Where the labelled text comes from and how it is cleaned and split. {data}
        select: The candidates that are compared by cross-validation. {select}
        train: How the chosen candidate is fine-tuned. {train}
        compress: Which smaller models are tried and how much quality they must keep. {compress}
        evaluate: What the quality gate asks for. {evaluate}
        registry: Where bundles are stored and with which key they are signed. {registry}
        rollout: How traffic moves and which harm is too much. {rollout}
        cluster: Where and with what the pods of trainings and model servers run. {cluster}
        target: Where trainings compute and the model is served: `local`, `kubernetes`, or `auto`: where the steps run.
        tracking_uri: The MLflow tracking server.
        work: Folder that outlives a killed training, so that the next run goes on from its last checkpoint.
        service: Folder of the service that the target `local` runs.
        public_key: File of the public key that the model server verifies bundles with.
        record: URI below which the pods of a run keep what the closing report is made of.
        source_version: Any text that changes when the data behind `data.source` does, so that cached results
            of other data are not used.
        encoder_version: Any text that changes when the weights behind the encoders' names do, likewise.
        run: Name of this run in lineage tags; empty for its id.
    """
    closing = _step(report(model_name=model_name, run=run, record=record), LIGHT)
    with dsl.ExitHandler(closing, name="deliver"):
        looked = _step(
            preflight(
                model_name=model_name,
                data=data,
                select=select,
                train=train,
                compress=compress,
                evaluate=evaluate,
                registry=registry,
                rollout=rollout,
                cluster=cluster,
                target=target,
                tracking_uri=tracking_uri,
                service=service,
                record=record,
            ),
            DATA,  # never from the cache: what it looks at may have gone
        )
        with_hub(with_encryption_key(looked))
        prepared = _step(
            prepare_data(settings=data, source_version=source_version, record=record), DATA, code="prepare_data"
        ).after(looked)
        with_hub(prepared)
        selected = select_model(
            dataset=prepared.outputs["dataset"],
            settings=select,
            train_settings=train,
            results_before=prepared.outputs["results"],
            record=record,
            encoder_version=encoder_version,
        )
        trained = _step(
            train_step(
                dataset=prepared.outputs["dataset"],
                choice=selected.outputs["choice"],
                settings=train,
                tracking_uri=tracking_uri,
                work=work,
                target=target,
                cluster=cluster,
                results_before=selected.outputs["results"],
                record=record,
                encoder_version=encoder_version,
            ),
            TRAINING,
            code="train",
        )
        with_hub(trained)
        compressed = _step(
            compress_step(
                model=trained.outputs["model"],
                dataset=prepared.outputs["dataset"],
                settings=compress,
                model_name=model_name,
                code_version=CODE["compress"],
                results_before=trained.outputs["results"],
                record=record,
                work=work,
            ),
            COMPUTING,
            code="compress",
        )
        evaluated = _step(
            evaluate_step(
                draft=compressed.outputs["draft"],
                dataset=prepared.outputs["dataset"],
                settings=evaluate,
                tracking_uri=tracking_uri,
                model_name=model_name,
                results_before=compressed.outputs["results"],
                record=record,
            ),
            DATA,  # never from the cache: the champion may have changed
        )
        with_encryption_key(evaluated)
        # kfp.local knows an output in a condition only by the name `Output`; it is the same as `passed`.
        with dsl.If(evaluated.outputs["Output"] == True, name="gate-passed"):  # noqa: E712  # kfp overloads ==
            registered = _step(
                register(
                    draft=compressed.outputs["draft"],
                    settings=registry,
                    tracking_uri=tracking_uri,
                    model_name=model_name,
                    run=run,
                    results_before=evaluated.outputs["results"],
                    record=record,
                ),
                LIGHT,  # never from the cache: the registry may have changed; the step knows its own versions
            )
            with_encryption_key(with_signing_key(registered))
            rolled_out = _step(
                rollout_step(
                    version=registered.outputs["version"],
                    bundle_uri=registered.outputs["bundle_uri"],
                    digest=registered.outputs["digest"],
                    dataset=prepared.outputs["dataset"],
                    settings=rollout,
                    tracking_uri=tracking_uri,
                    model_name=model_name,
                    service=service,
                    public_key=public_key,
                    target=target,
                    cluster=cluster,
                    results_before=registered.outputs["results"],
                    record=record,
                ),
                LIGHT,  # never from the cache: it acts on the world
            )
            with_api_key(with_encryption_key(with_public_key(rolled_out)))


slipway.__doc__ = (slipway.__doc__ or "").format(**{section: _help(section) for section in SECTIONS})
pipeline = dsl.pipeline(name=NAME, display_name="Slipway")(slipway)
