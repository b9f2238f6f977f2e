"""The component around the step `report`; it runs when all others ended, however they ended."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    model_name: str,
    run: str,
    status: dsl.PipelineTaskFinalStatus,
    html: dsl.Output[dsl.HTML],
    record: str = "",
) -> None:
    """Gather what the steps of a run found on one page.

    Args:
        model_name: Name of the registered and served model.
        run: Name of the run; empty for the id that its pod has.
        status: How the pipeline ended; given by Kubeflow Pipelines.
        html: The page.
        record: URI below which pods keep the records of runs.
    """
    from pathlib import Path

    from components import run_record, stage
    from components.report import step

    found = stage.record(store=record)
    name = run_record.run_name(run)
    step.run(found, model_name, name, status.state, Path(html.path), status.error_message or "")
