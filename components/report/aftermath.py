"""Clean up after a run of pods that was cut off, and find out why it ended; a part of the step `report`.

A pod may be ended by Kubernetes, or by a user who terminated the run. Then it can neither remove the training that it
started nor roll back the canary that it watched.
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
    """Clean up after a run that ended, and return its record with the cause of its end.

    For a run on this machine the record is returned unchanged: the command that runs the steps also stops them.

    Args:
        record: of the run, as its steps wrote it.
        run: id of the run.
    """
    namespace = own_namespace()
    if namespace is None or not run:
        return record
    record = _timed(record, run, namespace)
    if is_told(record) and not record.failure:
        return record
    actions = [message for action in (_end_trainings, _take_canary_back) if (message := _reported(action, record, run))]
    diagnosis, cancelled = pod_diagnosis.diagnose(run, namespace), pod_diagnosis.cancelled(run, namespace)
    return explained(record, diagnosis, cancelled, actions)


def _timed(record: Record, run: str, namespace: str) -> Record:
    """The record with two more events: the creation of the run, and now. So the report shows the time of the whole run;
    most of the time between the steps is waiting.
    """
    moments = [*filter(None, [pod_diagnosis.created(run, namespace)]), time.time()]
    return record._replace(
        events=[*record.events, *(progress.Event(time=moment, step="run", kind="there") for moment in moments)]
    )


def _reported(action: Callable[[Record, str], str], record: Record, run: str) -> str:
    """Run one action of the clean-up; returns what it did. An error is reported, and the other actions still run."""
    try:
        message = action(record, run)
    except SlipwayError as error:
        message = str(error)
    if message:
        progress.report(STEP, message)
    return message


def _end_trainings(record: Record, run: str) -> str:
    """Remove the PyTorchJobs of the run that have not ended."""
    preflight = PreflightResult.found_in(record.results)
    if preflight is None or "train" in record.results:
        return ""
    from slipway.components.train.cancel import remove_jobs_of

    removed = remove_jobs_of(run, _cluster(preflight).namespace)
    return f"PyTorchJob {', '.join(removed)} was removed; its checkpoints stay" if removed else ""


def _take_canary_back(record: Record, run: str) -> str:  # noqa: ARG001  # the version says which run
    """Roll back the version of the run, if its rollout began and did not end."""
    preflight, registration = PreflightResult.found_in(record.results), RegisterResult.found_in(record.results)
    rollout_began = any(event.step == "rollout" for event in record.events)
    if preflight is None or not registration or not rollout_began or "rollout" in record.results:
        return ""
    from slipway.components.platforms.model_registry import Registry
    from slipway.components.rollout.kserve.cancelled import NOTHING, take_back

    registry = Registry(str(preflight.settings["tracking_uri"]), preflight.model_name)
    message = take_back(preflight.model_name, _cluster(preflight), registry, registration.version)
    return "" if message == NOTHING else message


def _cluster(preflight: PreflightResult) -> ClusterSettings:
    return ClusterSettings.model_validate(preflight.settings.get("cluster", {}))
