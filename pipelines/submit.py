"""Submit a run to Kubeflow Pipelines, show its progress there, and return its outcome; for `slipway submit`."""

import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from slipway.components.errors import BadInput, Cancelled, SlipwayError
from slipway.components.kubeflow import pod_diagnosis
from slipway.components.report.ending import explained, is_told
from slipway.components.report.outcome import Outcome, outcome_of
from slipway.components.select_model.settings import trainings
from slipway.components.step_runtime import run_record
from slipway.components.step_runtime.run_record import Record
from slipway.pipelines import pipeline_parameters
from slipway.pipelines.cluster_settings import for_pods
from slipway.pipelines.kubeflow_api import RUN_CANCELLED, Endpoint, Submitted
from slipway.pipelines.progress_view import follow
from slipway.pipelines.run_progress import SHOWN, RunProgress
from slipway.pipelines.settings import SlipwaySettings
from slipway.pipelines.upload import send, with_addresses

NAMESPACE = "kubeflow"
"""The namespace in which a single-user installation of Kubeflow Pipelines runs the steps."""

REPORT_SECONDS = 20.0
"""How long to wait for the report in the store after a run ended."""

LOOK_SECONDS = 1.0


class Ended(NamedTuple):
    """How a run ended."""

    outcome: Outcome
    lines: list[str]
    """The last lines that matter in the log of the pod that failed."""
    report: Path | None


def submit(
    settings: SlipwaySettings, endpoint: str, experiment: str, namespace: str, console: Console
) -> tuple[Endpoint, Submitted]:
    """Submit a run with these settings, and print its address.

    Data and encoders on this machine are uploaded to the store first, once all other checks have passed.

    Args:
        settings: as the user gave them, not resolved for this machine.
        endpoint: address of Kubeflow Pipelines.
        experiment: name of the experiment there; made when it is new.
        namespace: of the user's profile, in a multi-user installation.
        console: shows what is uploaded, and the run's address.

    Returns:
        The API of Kubeflow Pipelines, and the run.

    Raises:
        BadInput: the settings, the endpoint or the store cannot be used.
    """
    settings, uploads = with_addresses(for_pods(settings))
    name = f"{settings.model_name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    arguments = pipeline_parameters.filled(settings, for_pods(SlipwaySettings()))
    api = Endpoint(endpoint, namespace)
    send(uploads, console)
    run = api.send(name, experiment, arguments, run_record.uri_of(settings.model_dump()))
    console.print(f"run {run.run_id} of {settings.model_name}: {run.url}", highlight=False)
    return api, run


def follow_to_end(
    endpoint: Endpoint, run: Submitted, settings: SlipwaySettings, console: Console, report: Path
) -> Ended:
    """Show the progress of a run until it ends.

    Args:
        endpoint: the API that has the run.
        run: the run.
        settings: of the run.
        console: shows progress.
        report: path to which the run's report is downloaded.

    Raises:
        EndpointAway: the endpoint did not respond for minutes; the run itself goes on.
        BadInput: the endpoint rejects the request, or does not know the run.
    """
    count = trainings(settings.select, settings.train)
    progress = RunProgress(endpoint, run, count, lambda message: console.print(message, markup=False, highlight=False))
    follow(progress, console, SHOWN)
    return ended(progress, endpoint.namespace or NAMESPACE, settings.model_name, report)


def ended(progress: RunProgress, namespace: str, model_name: str, report: Path) -> Ended:
    """How a run ended, by the results of its steps. The state in Kubeflow Pipelines alone does not show it: a run whose
    gate refused the model is `SUCCEEDED` there, too.

    Args:
        progress: of the run.
        namespace: of the run's pods.
        model_name: of the run.
        report: path to which the run's report is downloaded.
    """
    run, state = progress.run, progress.state
    try:
        record = run_record.read(run.record_uri)
    except BadInput as error:
        reason = f"its record cannot be read from here ({error})"
        return Ended(_unread(state, run, model_name, reason), [], None)
    record = _explained(record, progress, namespace)
    if not is_told(record):
        reason = f"its record {run.record_uri} does not say so"
        return Ended(_unread(state, run, model_name, reason), [], None)
    lines = record.failure.lines if record.failure else []
    return Ended(outcome_of(record), lines, report if _fetched(progress, report) else None)


def _explained(record: Record, progress: RunProgress, namespace: str) -> Record:
    """The record with the cause of a failure that no step recorded, from the pods in the cluster of KUBECONFIG."""
    failure, run = record.failure, progress.run.run_id
    if is_told(record) and not (failure and failure.exit_code == SlipwayError.exit_code and not failure.pod):
        return record
    if progress.state in ("SUCCEEDED", "COMPLETE", "COMPLETED") and not failure:
        return record  # no step failed; only the record is incomplete
    cancelled = progress.state in RUN_CANCELLED or pod_diagnosis.cancelled(run, namespace)
    diagnosis = pod_diagnosis.diagnose(run, namespace)
    completed = explained(record, diagnosis, cancelled)
    unknown = completed.failure if not diagnosis and not cancelled else None
    if unknown and unknown.step == "run" and (step := progress.first_failed()):
        message = f"it failed before it could leave a word; the log of its pod says why, see {progress.run.url}"
        return completed._replace(failure=unknown.model_copy(update={"step": step, "message": message}))
    return completed


def _unread(state: str, run: Submitted, model_name: str, reason: str) -> Outcome:
    """The outcome of a run whose record cannot be read. A state that looks good may hide that the gate refused."""
    prefix, suffix = "Kubeflow Pipelines says", f"{reason}; see {run.url}"
    if state in RUN_CANCELLED:
        return Outcome("cancelled", f"{prefix} that the run was cancelled; {suffix}", Cancelled.exit_code, "neutral")
    if state in ("FAILED", "ERROR"):
        return Outcome("failed", f"{prefix} that the run failed; {suffix}", SlipwayError.exit_code, "bad")
    sentence = f"{prefix} {state}, but not whether {model_name} was delivered; {suffix}"
    return Outcome("ended", sentence, SlipwayError.exit_code, "neutral")


def _fetched(progress: RunProgress, report: Path) -> bool:
    """Download the report of a run; False when there is none. Waits for it, since the last task may just write it."""
    report_failed = any(task.name in ("report", "report-driver") and task.state == "failed" for task in progress.tasks)
    deadline = time.monotonic() + (0.0 if report_failed else REPORT_SECONDS)
    while True:
        try:
            run_record.get_report(progress.run.record_uri, report)
            return True
        except BadInput:
            if time.monotonic() >= deadline:
                return False
        time.sleep(LOOK_SECONDS)
