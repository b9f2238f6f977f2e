"""Remove the trainings of a run that was cancelled.

A step on Kubeflow Pipelines does not hear of it: its pod is ended without a signal to the step's process, and a job in
another namespace than the pod's cannot belong to it. So the run's exit task removes what carries the run's label.
"""

from slipway.components.errors import SlipwayError
from slipway.components.platforms.cluster_settings import own_namespace
from slipway.components.train.job_api import JobApi, NoOperator
from slipway.components.train.job_manifest import run_label


def remove_jobs_of(run: str, namespace: str) -> list[str]:
    """Remove the PyTorchJobs of a run that have not ended; their pods end after this returns.

    Checkpoints stay, so a new run of the same training goes on from the last one.

    Args:
        run: its id. What has no valid one carries no label, so nothing is removed.
        namespace: of the jobs; empty for the step's own.

    Returns:
        Their names; none where the cluster knows no PyTorchJobs.

    Raises:
        BadInput: there is no cluster to talk to, or it does not let us.
        SlipwayError: the cluster cannot be reached, or a job could not be removed; the others are.
    """
    api = JobApi(namespace or own_namespace() or "default")
    removed: list[str] = []
    left: list[str] = []
    for name in _not_ended(api, run):
        try:
            api.remove(name)
            removed.append(name)
        except SlipwayError as error:
            left.append(f"{name} ({error})")
    if left:
        command = f"kubectl delete pytorchjob --namespace {api.namespace}"
        raise SlipwayError(
            f"of the PyTorchJobs of run {run} these go on: {'; '.join(left)}; remove them by `{command}`"
        )
    return removed


def _not_ended(api: JobApi, run: str) -> list[str]:
    try:
        return [name for label, value in run_label(run).items() for name in api.not_ended(f"{label}={value}")]
    except NoOperator:
        return []
