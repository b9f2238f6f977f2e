"""What the closing step does for a run of pods that was cut off: find out why, and leave nothing at work behind.

A pod that is ended from outside, by Kubernetes or by somebody who terminated the run, can neither remove the training
that it started nor take back the canary that it watched.
"""

import time
from collections.abc import Callable

from slipway.components.errors import SlipwayError
from slipway.components.kubeflow import pod_diagnosis
from slipway.components.platforms.cluster_settings import ClusterSettings, own_namespace
from slipway.components.register.result import RegisterResult
from slipway.components.report.ending import explained, is_told
from slipway.components.step_runtime import progress
from slipway.components.step_runtime.preflight_result import PreflightResult
from slipway.components.step_runtime.run_record import Record

STEP = "report"


def settled(record: Record, run: str) -> Record:
    """The record of a run that ended, with its cause, once nothing of it is at work any more.

    On this machine the record is returned as it is: the command that runs the steps ends them itself.

    Args:
        record: what the steps left.
        run: id of the run.
    """
    namespace = own_namespace()
    if namespace is None or not run:
        return record
    record = _timed(record, run, namespace)
    if is_told(record) and not record.failure:
        return record
    undone = [words for act in (_end_trainings, _take_canary_back) if (words := _told(act, record, run))]
    diagnosis, cancelled = pod_diagnosis.diagnose(run, namespace), pod_diagnosis.cancelled(run, namespace)
    return explained(record, diagnosis, cancelled, undone)


def _timed(record: Record, run: str, namespace: str) -> Record:
    """The record with the moments between which the run was there: most of what lies between the steps is waiting."""
    moments = [*filter(None, [pod_diagnosis.created(run, namespace)]), time.time()]
    return record._replace(events=[*record.events, *({"time": at, "step": "run", "kind": "there"} for at in moments)])


def _told(act: Callable[[Record, str], str], record: Record, run: str) -> str:
    """What an act did; that it failed is told, too, and keeps nothing else from being done."""
    try:
        words = act(record, run)
    except SlipwayError as error:
        words = str(error)
    if words:
        progress.report(STEP, words)
    return words


def _end_trainings(record: Record, run: str) -> str:
    """Remove the PyTorchJobs that the run left."""
    asked = PreflightResult.found_in(record.results)
    if asked is None or "train" in record.results:
        return ""
    from slipway.components.train.cancel import remove_jobs_of

    removed = remove_jobs_of(run, _cluster(asked).namespace)
    return f"PyTorchJob {', '.join(removed)} was removed; its checkpoints stay" if removed else ""


def _take_canary_back(record: Record, run: str) -> str:  # noqa: ARG001  # the version says which run
    """Roll the run's version back, when its rollout began and did not end."""
    asked, registered = PreflightResult.found_in(record.results), RegisterResult.found_in(record.results)
    began = any(event["step"] == "rollout" for event in record.events)
    if asked is None or not registered or not began or "rollout" in record.results:
        return ""
    from slipway.components.platforms.model_registry import Registry
    from slipway.components.rollout.kserve.cancelled import NOTHING, take_back

    registry = Registry(str(asked.settings["tracking_uri"]), asked.model_name)
    words = take_back(asked.model_name, _cluster(asked), registry, registered.version)
    return "" if words == NOTHING else words


def _cluster(asked: PreflightResult) -> ClusterSettings:
    return ClusterSettings.model_validate(asked.settings.get("cluster", {}))
