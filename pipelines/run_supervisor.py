"""Start a run of the pipeline in the background, follow it, and say how it ended."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from slipway.components.machine.child_processes import environment
from slipway.components.machine.private_files import private_folder
from slipway.components.platforms.execution_target import meant
from slipway.components.prepare_data import sources
from slipway.components.report.outcome import Outcome, outcome_of
from slipway.components.report.step import run as write_report
from slipway.components.select_model.settings import trainings
from slipway.components.step_runtime import step_context
from slipway.components.step_runtime.run_record import REPORT
from slipway.pipelines.cluster_settings import check_from_here
from slipway.pipelines.home import Places
from slipway.pipelines.local_run import SETTINGS
from slipway.pipelines.progress_view import FileEvents, follow
from slipway.pipelines.settings import SlipwaySettings

GRACE_SECONDS = 20.0


def new_run(places: Places) -> Path:
    """A folder for a new run."""
    folder = places.runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    private_folder(places.home)
    folder.mkdir(parents=True)
    return folder


def run_here(settings: SlipwaySettings, places: Places, console: Console) -> tuple[Outcome, Path]:
    """Run the pipeline on this machine to its end; the steps run in processes of their own.

    Args:
        settings: resolved settings.
        places: where things are kept.
        console: shows progress.

    Returns:
        The outcome and the path of the report, which is in the folder of the run.

    Raises:
        BadInput: the data are not there, or the cluster's stores cannot be used from here.
    """
    sources.local_path(settings.data.source)  # told now, not after the first step has started
    return _run("slipway.pipelines.local_run", [], settings, places, console)


def roll_out_here(
    bundle: Path, dataset: Path | None, settings: SlipwaySettings, places: Places, console: Console
) -> tuple[Outcome, Path]:
    """Roll one bundle out on this machine, with probes from `dataset` (None: the one that it was made from)."""
    paths = [str(path.absolute()) for path in (bundle, dataset) if path]
    return _run("slipway.pipelines.local_rollout", paths, settings, places, console)


def _run(
    module: str, arguments: list[str], settings: SlipwaySettings, places: Places, console: Console
) -> tuple[Outcome, Path]:
    if meant(settings.target) == "kubernetes":
        check_from_here(settings)
    folder = new_run(places)
    (folder / SETTINGS).write_text(settings.model_dump_json(indent=1), "utf-8")
    (folder / step_context.LOGS).mkdir()
    begun = f"run {folder.name} of {settings.model_name}; logs in {folder / step_context.LOGS}"
    console.print(begun, markup=False, highlight=False)
    own = {"SLIPWAY_RUN": str(folder), "SLIPWAY_HOME": str(places.home), "PYTHONUNBUFFERED": "1"}
    with (folder / step_context.LOGS / "pipeline.log").open("w") as log, sigterm_raises():
        command = [sys.executable, "-m", module, str(folder), *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment() | own, start_new_session=True)
        try:
            events = FileEvents(folder, lambda: process.poll() is None)
            follow(events, console, trainings=trainings(settings.select, settings.train))
        finally:
            _stop(process)
    record = step_context.record(folder)
    report = folder / REPORT
    if not report.exists():
        write_report(record, settings.model_name, folder.name, report)
    return outcome_of(record), report


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that the run's processes end with this one, which they would outlive.

    Python takes handlers from the main thread only, and somebody else's handler is theirs to keep.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the run's processes, the steps' included, when they are still there; the service is not among them."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
