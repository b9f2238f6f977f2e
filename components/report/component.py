"""The component around the step `report`; it runs when all others ended, however they ended."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    model_name: str,
    run: str,
    status: dsl.PipelineTaskFinalStatus,
    html: dsl.Output[dsl.HTML],
) -> None:
    """Gather what the steps of a run found on one page.

    Args:
        model_name: Name of the registered and served model.
        run: Name of the run.
        status: How the pipeline ended; given by Kubeflow Pipelines.
        html: The page.
    """
    from pathlib import Path

    from components import stage
    from components.report import step

    step.run(stage.record(), model_name, run, status.state, Path(html.path))
