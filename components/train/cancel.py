"""Remove the training jobs of a run that was cancelled.

The step itself cannot do it: Kubeflow Pipelines ends its pod without a signal to the step's process. An owner reference
to the pod cannot do it either when the job is in another namespace. So the run's exit task removes the jobs that have
the run's label.
"""

from slipway.components.errors import SlipwayError
from slipway.components.platforms.cluster_settings import own_namespace
from slipway.components.train.job_api import JobApi, NoOperator
from slipway.components.train.job_manifest import run_label


def remove_jobs_of(run: str, namespace: str) -> list[str]:
    """Remove the PyTorchJobs of a run that have not ended. Their pods end later, after this function returns.

    Checkpoints are kept, so a new run of the same training resumes from the last one.

    Args:
        run: the run's id. Jobs of a run without a valid id have no label, so none is removed.
        namespace: of the jobs; empty for the namespace of this pod.

    Returns:
        The names of the removed jobs; none in a cluster without the training operator.

    Raises:
        BadInput: there is no cluster, or it does not allow the requests.
        SlipwayError: the cluster cannot be reached, or some jobs could not be removed; all others were.
    """
    api = JobApi(namespace or own_namespace() or "default")
    removed: list[str] = []
    remaining: list[str] = []
    for name in _not_ended(api, run):
        try:
            api.remove(name)
            removed.append(name)
        except SlipwayError as error:
            remaining.append(f"{name} ({error})")
    if remaining:
        command = f"kubectl delete pytorchjob --namespace {api.namespace}"
        raise SlipwayError(
            f"of the PyTorchJobs of run {run} these go on: {'; '.join(remaining)}; remove them by `{command}`"
        )
    return removed


def _not_ended(api: JobApi, run: str) -> list[str]:
    try:
        return [name for label, value in run_label(run).items() for name in api.not_ended(f"{label}={value}")]
    except NoOperator:
        return []
