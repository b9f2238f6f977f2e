"""The step `report` as a pipeline component. It runs after all other steps, however they ended."""

from kfp import dsl

from slipway.components.step_runtime.kfp_component import component


@component
def report(
    model_name: str,
    settings: dict,
    status: dsl.PipelineTaskFinalStatus,  # noqa: ARG001  # makes it an exit task, which runs also after failures
    run_report: dsl.Output[dsl.HTML],
) -> None:
    """Gather what the steps of a run found on one page; when it was cut off, find out why, and leave nothing behind.

    Args:
        model_name: Name of the registered and served model.
        settings: The field `settings` of the run's form.
        status: The state of the run in Kubeflow Pipelines. It is not used; see `slipway.components.report.ending`.
        run_report: The page.
    """
    from pathlib import Path

    from slipway.components.report import step
    from slipway.components.report.aftermath import settled
    from slipway.components.step_runtime import run_record, step_context

    run = run_record.run_name()
    record = settled(step_context.record(store=run_record.uri_of(settings)), run)
    step.run(record, model_name, run, Path(run_report.path))
