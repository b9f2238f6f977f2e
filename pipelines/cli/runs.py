"""The commands `slipway runs`, `logs` and `report`, which show earlier runs of this home folder."""

import json
import webbrowser
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slipway.components.errors import BadInput
from slipway.components.report.outcome import outcome_of
from slipway.components.report.step import run as write_report
from slipway.components.step_runtime import step_context
from slipway.components.step_runtime.run_record import REPORT, Record
from slipway.pipelines.home import Places
from slipway.pipelines.local_run import SETTINGS, running


class Run(NamedTuple):
    """A run in this home folder."""

    folder: Path
    model_name: str
    record: Record
    going: bool

    @property
    def seconds(self) -> float | None:
        """Seconds from the first event to the last one; None for a run without events."""
        times = [event.time for event in self.record.events]
        return max(times) - min(times) if times else None

    def row(self) -> dict[str, Any]:
        """The run as a row of `slipway runs --json`."""
        outcome = outcome_of(self.record)
        title, sentence = ("at work", "") if self.going else (outcome.title, outcome.sentence)
        if not self.model_name:
            title, sentence = "see its report", ""
        began = self.record.events[0].time if self.record.events else None
        started = datetime.fromtimestamp(began).isoformat(" ", "seconds") if began else None
        row = {"run": self.folder.name, "model_name": self.model_name, "started": started, "seconds": self.seconds}
        return row | {"outcome": title, "sentence": sentence, "report": str(self.folder / REPORT)}


def all_runs(places: Places) -> Iterator[Run]:
    """Yield the runs of this home folder, the newest first."""
    running_name = running(places)
    for folder in _folders(places):
        yield _run(folder, running_name)


def find_run(places: Places, name: str) -> Run:
    """Find a run by its name, or by how its name begins. An empty name finds the newest run.

    Raises:
        BadInput: no run has such a name, or several have.
    """
    known = _folders(places)
    matching = [folder for folder in known if folder.name.startswith(name)]
    if not known:
        raise BadInput(f"there are no runs in {places.runs} yet; `slipway run` makes one")
    if not matching or (name and len(matching) > 1 and matching[0].name != name):
        listed = ", ".join(folder.name for folder in (matching or known)[:5])
        raise BadInput(
            f"{'no run begins' if not matching else 'several runs begin'} with {name!r}; give one of {listed}, …"
        )
    return _run(matching[0], running(places))


def _folders(places: Places) -> list[Path]:
    """The folders of the runs, the newest first."""
    return sorted((path for path in places.runs.glob("*") if path.is_dir()), reverse=True)


def _run(folder: Path, running_name: str) -> Run:
    try:
        name = str(json.loads((folder / SETTINGS).read_text("utf-8"))["model_name"])
    except (OSError, ValueError, KeyError):  # a run on Kubeflow Pipelines leaves only its report here
        name = ""
    return Run(folder, name, step_context.record(folder), folder.name == running_name)


def show(runs: list[Run], console: Console) -> None:
    """Print a table of runs."""
    if not runs:
        console.print("no runs yet; `slipway run` makes one", highlight=False)
        return
    table = Table("run", "model", "started", "took", "outcome", box=None, pad_edge=False)
    for run in runs:
        row = run.row()
        took = "" if run.seconds is None else f"{run.seconds:.0f} s"
        table.add_row(row["run"], escape(row["model_name"]), row["started"] or "", took, row["outcome"])
    console.print(table)


def log_of(run: Run, step: str) -> str:
    """Read the log of a step. An empty name means the step that failed, or else the last one.

    Raises:
        BadInput: the run has no such log.
    """
    folder = run.folder / step_context.LOGS
    known = {path.stem: path for path in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)}
    wanted = step or (run.record.failure.step if run.record.failure else "")
    if wanted not in known and not step:
        wanted = next(reversed(known), "")
    if wanted not in known:
        raise BadInput(
            f"run {run.folder.name} has no log of {wanted or 'any step'!r}; it has {', '.join(known) or 'none'}"
        )
    return known[wanted].read_text("utf-8", "replace")


def report_of(run: Run) -> Path:
    """The path of a run's report. A run that was killed left none, so it is written now.

    Raises:
        BadInput: the run has not ended.
    """
    path = run.folder / REPORT
    if not path.exists():
        if run.going:
            raise BadInput(f"run {run.folder.name} is at work; its report comes at its end")
        write_report(run.record, run.model_name, run.folder.name, path)
    return path


def open_page(path: Path) -> None:
    """Show a page in the browser.

    Raises:
        BadInput: this machine has no browser.
    """
    if not webbrowser.open(path.absolute().as_uri()):
        raise BadInput(f"no browser could be started; open {path} yourself")
