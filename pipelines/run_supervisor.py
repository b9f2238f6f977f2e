"""Start a run in a child process, show its progress and return its outcome: for the CLI and for `slipway.run`."""

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

from slipway.components.artifacts.encoder import encoder_folder, is_stored
from slipway.components.machine.child_processes import environment
from slipway.components.machine.private_files import private_folder
from slipway.components.platforms.execution_target import meant
from slipway.components.prepare_data import usable
from slipway.components.report.outcome import Outcome, outcome_of
from slipway.components.report.step import run as write_report
from slipway.components.select_model.settings import trainings
from slipway.components.step_runtime import step_context
from slipway.components.step_runtime.run_record import REPORT
from slipway.pipelines.cluster_settings import check_from_here, encoders
from slipway.pipelines.home import Places
from slipway.pipelines.local_ports import check_ports
from slipway.pipelines.local_run import SETTINGS
from slipway.pipelines.progress_view import FileEvents, follow
from slipway.pipelines.settings import SlipwaySettings

GRACE_SECONDS = 20.0
"""Time that the processes of a run have to end after SIGTERM, before SIGKILL."""

AT_ONCE_BYTES = 64_000_000
"""Data with more bytes are not read before the run starts, which would take seconds."""


def new_run(places: Places) -> Path:
    """Make the folder of a new run, and return its path."""
    folder = places.runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    private_folder(places.home)
    folder.mkdir(parents=True)
    return folder


def run_here(settings: SlipwaySettings, places: Places, console: Console) -> tuple[Outcome, Path]:
    """Run the pipeline on this machine to its end. Each step runs in a process of its own.

    Args:
        settings: resolved settings.
        places: the home folder.
        console: shows progress.

    Returns:
        The outcome and the path of the report, which is in the folder of the run.

    Raises:
        BadInput: data, an encoder or a port of this machine cannot be used, or this machine cannot use the cluster's
            stores.
    """
    check_at_hand(settings, places)
    return _run("slipway.pipelines.local_run", [], settings, places, console)


def check_at_hand(settings: SlipwaySettings, places: Places) -> None:
    """Check what can be seen at once, without the machine learning libraries, which take many seconds to load.

    Raises:
        BadInput: data or an encoder on this machine are not there, the data are malformed or lack a column, or another
            process listens on a port of the endpoint on this machine.
    """
    usable.check_local(settings.data, AT_ONCE_BYTES)
    for _, encoder in encoders(settings):
        if not is_stored(encoder):
            encoder_folder(encoder)
    if meant(settings.target) == "local":
        check_ports(settings.rollout, places.service)


def roll_out_here(
    bundle: Path, dataset: Path | None, settings: SlipwaySettings, places: Places, console: Console
) -> tuple[Outcome, Path]:
    """Roll out one bundle from this machine.

    Args:
        bundle: folder of the signed bundle.
        dataset: dataset folder with the probes; None for the dataset that the bundle was made from.
        settings: resolved settings.
        places: the home folder.
        console: shows progress.

    Returns:
        The outcome and the path of the report.

    Raises:
        BadInput: this machine cannot use the cluster's stores.
    """
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
    message = f"run {folder.name} of {settings.model_name}; logs in {folder / step_context.LOGS}"
    console.print(message, markup=False, highlight=False)
    variables = {"SLIPWAY_RUN": str(folder), "SLIPWAY_HOME": str(places.home), "PYTHONUNBUFFERED": "1"}
    with (folder / step_context.LOGS / "pipeline.log").open("w") as log, sigterm_raises():
        command = [sys.executable, "-m", module, str(folder), *arguments]
        # A session of its own gives the run a process group, so that `_stop` reaches the processes of the steps too.
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=environment() | variables, start_new_session=True
        )
        try:
            events = FileEvents(folder, lambda: process.poll() is None)
            follow(events, console, trainings=trainings(settings.select, settings.train))
        finally:
            _stop(process)
    record = step_context.record(folder)
    report = folder / REPORT
    if not report.exists():  # the run was killed, or ended before its last step
        write_report(record, settings.model_name, folder.name, report)
    return outcome_of(record), report


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that `finally` blocks stop the run's processes, which would go on otherwise.

    Python accepts signal handlers from the main thread only. A handler that the calling program set is not replaced.
    """
    replace = (
        threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if replace:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        if replace:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the processes of the run and of its steps. The served model has a process group of its own and goes on."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
