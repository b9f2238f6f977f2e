"""Send a run to Kubeflow Pipelines, follow it there to its end, and say what became of it."""

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
"""Where Kubeflow Pipelines runs the steps of a single-user installation."""

REPORT_SECONDS = 20.0
"""How long the report of a run that ended may take to arrive in the store."""

LOOK_SECONDS = 1.0


class Ended(NamedTuple):
    """What became of a run."""

    outcome: Outcome
    lines: list[str]
    """The last telling lines of the pod that failed."""
    report: Path | None


def submit(
    settings: SlipwaySettings, endpoint: str, experiment: str, namespace: str, console: Console
) -> tuple[Endpoint, Submitted]:
    """Send a run with these settings and say where it can be seen.

    Data and encoders of this machine go to the store first, when all else is known to be good.

    Args:
        settings: as they were given, not resolved for this machine.
        endpoint: address of Kubeflow Pipelines.
        experiment: its name there; made when it is new.
        namespace: the profile's, in a multi-user installation.
        console: gets what is uploaded and the run's address.

    Raises:
        BadInput: the settings name something that cannot be used, or the endpoint or the store cannot be.
    """
    settings, uploads = with_addresses(for_pods(settings))
    name = f"{settings.model_name} {time.strftime('%Y-%m-%d %H:%M:%S')}"
    arguments = pipeline_parameters.filled(settings, for_pods(SlipwaySettings()))
    there = Endpoint(endpoint, namespace)
    send(uploads, console)
    run = there.send(name, experiment, arguments, run_record.uri_of(settings.model_dump()))
    console.print(f"run {run.run_id} of {settings.model_name}: {run.url}", highlight=False)
    return there, run


def follow_to_end(
    endpoint: Endpoint, run: Submitted, settings: SlipwaySettings, console: Console, report: Path
) -> Ended:
    """Show how the steps of a run go on until it ended.

    Args:
        endpoint: where the run is.
        run: the run.
        settings: of the run.
        console: what is written to.
        report: path to which the run's page is brought.

    Raises:
        EndpointAway: the endpoint was away for minutes; the run goes on without us.
        BadInput: the endpoint does not let us in any more, or does not know the run.
    """
    count = trainings(settings.select, settings.train)
    progress = RunProgress(endpoint, run, count, lambda words: console.print(words, markup=False, highlight=False))
    follow(progress, console, SHOWN)
    return ended(progress, endpoint.namespace or NAMESPACE, settings.model_name, report)


def ended(progress: RunProgress, namespace: str, model_name: str, report: Path) -> Ended:
    """What became of a run that ended, told by what its steps left, never by the engine's word alone.

    Args:
        progress: of the run.
        namespace: where its pods are.
        model_name: of the run.
        report: path to which its page is brought.
    """
    run, state = progress.run, progress.state
    try:
        record = run_record.read(run.place)
    except BadInput as error:
        reason = f"its record cannot be read from here ({error})"
        return Ended(_unread(state, run, model_name, reason), [], None)
    record = _explained(record, progress, namespace)
    if not is_told(record):
        reason = f"its record {run.place} does not say so"
        return Ended(_unread(state, run, model_name, reason), [], None)
    lines = [str(line) for line in (record.failure or {}).get("lines") or []]
    return Ended(outcome_of(record), lines, report if _fetched(progress, report) else None)


def _explained(record: Record, progress: RunProgress, namespace: str) -> Record:
    """The record with the cause of what no step could tell, as the cluster of the user's KUBECONFIG shows it."""
    failure, run = record.failure, progress.run.run_id
    if is_told(record) and not (failure and failure["exit_code"] == SlipwayError.exit_code and "lines" not in failure):
        return record
    if progress.state in ("SUCCEEDED", "COMPLETE", "COMPLETED") and not failure:
        return record  # nothing failed: what is missing is the record
    cancelled = progress.state in RUN_CANCELLED or pod_diagnosis.cancelled(run, namespace)
    diagnosis = pod_diagnosis.diagnose(run, namespace)
    found = explained(record, diagnosis, cancelled)
    untold = found.failure and found.failure["step"] == "run" and not diagnosis and not cancelled
    if untold and (step := progress.first_failed()):
        words = f"it failed before it could leave a word; the log of its pod says why, see {progress.run.url}"
        return found._replace(failure=(found.failure or {}) | {"step": step, "message": words})
    return found


def _unread(state: str, run: Submitted, model_name: str, reason: str) -> Outcome:
    """The outcome of a run of which only Kubeflow Pipelines tells; an end that looks good may be a refusal."""
    says, more = "Kubeflow Pipelines says", f"{reason}; see {run.url}"
    if state in RUN_CANCELLED:
        return Outcome("cancelled", f"{says} that the run was cancelled; {more}", Cancelled.exit_code, "neutral")
    if state in ("FAILED", "ERROR"):
        return Outcome("failed", f"{says} that the run failed; {more}", SlipwayError.exit_code, "bad")
    words = f"{says} {state}, but not whether {model_name} was delivered; {more}"
    return Outcome("ended", words, SlipwayError.exit_code, "neutral")


def _fetched(progress: RunProgress, report: Path) -> bool:
    """Bring the page of a run, which its last task may just have written, to a file; False when there is none."""
    cannot = any(task.name in ("report", "report-driver") and task.state == "failed" for task in progress.tasks)
    latest = time.monotonic() + (0.0 if cannot else REPORT_SECONDS)
    while True:
        try:
            run_record.get_report(progress.run.place, report)
            return True
        except BadInput:
            if time.monotonic() >= latest:
                return False
        time.sleep(LOOK_SECONDS)
