"""The record of a run: results by step, the failure and progress events, in a folder or in a store.

On one machine the steps of a run share a folder; see `slipway.components.step_runtime.step_context`. Pods share no
disk. So each process of a step has one object in the store, and writes the whole object again when something happens:

    RECORD/RUN/STEP-POD/record.json     {"format": 1, "results": all so far, "failure": or null, "events": [...]}
    RECORD/RUN/report/report.html       the report of the run, written by the exit task

RECORD is `runs` below the run's store. RUN is the run's id, which each pod has in the environment (SLIPWAY_RUN_ID).
"""

import json
import os
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from slipway.components import formats
from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import STORE
from slipway.components.settings import unfolded
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.step_result import Results

RUN, RUN_ID, RUNS = "SLIPWAY_RUN", "SLIPWAY_RUN_ID", "runs"
PART, REPORT = "record.json", "report.html"
FORMAT = 1
"""Format of `record.json`; see `slipway.components.formats`."""
PAUSE_SECONDS = 10.0
"""Least time between two writes because of progress. A start and an end are written at once."""

OUTAGE_SECONDS = 60.0
"""Time without writes because of progress after a write failed."""


class Failure(BaseModel):
    """Why a step failed."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    step: str
    """Name of the step; `run` when no step is known."""
    kind: str
    """Name of the error's class."""
    message: str
    """What the error says."""
    exit_code: int
    """Exit code of the step's process; see `slipway.components.errors`."""
    lines: list[str] = []
    """The last lines of the pod's log, where the pod says more than the error."""
    pod: str = ""
    """Name of that pod."""

    def to_json(self) -> dict[str, Any]:
        """The failure as plain JSON."""
        return self.model_dump(exclude_defaults=True)


class Record(NamedTuple):
    """The record of a run: results by step, the failure (or None) and progress events in order of time."""

    folder: Path | None
    results: Results
    failure: Failure | None
    events: list[Event]
    uri: str = ""
    """URI of the run in the store; empty for a record from a folder."""


def uri_of(settings: Mapping[str, Any]) -> str:
    """The URI below which the records of runs are kept. It is found even if the settings are not valid otherwise, so
    that the preflight can record what is wrong with them.

    Args:
        settings: as the user gave them; see `slipway.components.settings.unfolded`.
    """
    sections = [unfolded(settings).get(name) for name in ("cluster", "registry")]
    stores = [section.get("store") for section in sections if isinstance(section, dict)]
    store = next((str(store) for store in stores if store), STORE)
    return f"{store.rstrip('/')}/{RUNS}"


def run_uri(record: str) -> str:
    """The URI of the record of this pod's run; empty when the run has a folder, or when `record` is empty.

    Args:
        record: URI below which the records of all runs are kept, or empty.
    """
    run = os.environ.get(RUN_ID)
    return f"{record.rstrip('/')}/{run}" if record and run and not os.environ.get(RUN) else ""


def run_name() -> str:
    """The name of the run: the run's id in a pod, otherwise the name of its folder; empty without a run."""
    return os.environ.get(RUN_ID, "") or Path(os.environ.get(RUN, "")).name


class Mirror:
    """Keeps this process's object in the store up to date. When the store fails, the step still goes on.

    Args:
        run_uri: of the record of the run in the store.
        step: name of the step.
    """

    def __init__(self, run_uri: str, step: str) -> None:
        self.uri = f"{run_uri}/{step}-{os.environ.get('KFP_POD_NAME') or uuid.uuid4().hex}"
        self.results: Results = {}
        self.failure: Failure | None = None
        self.events: list[Event] = []
        self._next = 0.0
        self._lock = threading.Lock()

    def event(self, event: Event) -> None:
        """Add a progress event, and write the object if it is time to. Of several messages in a row only the last one
        is kept, so that the object stays small.
        """
        is_progress = event.kind == "progress"
        with self._lock:
            if is_progress and self.events and self.events[-1].kind == "progress":
                self.events.pop()
            self.events.append(event)
            if not is_progress or time.monotonic() >= self._next:
                self._write()

    def update(self, results: Results | None = None, failure: Failure | None = None) -> None:
        """Set the results or the failure. They are written with the next event, which every caller sends at once."""
        with self._lock:
            self.results = results if results is not None else self.results
            self.failure = failure or self.failure

    def _write(self) -> None:
        content = {
            formats.KEY: FORMAT,
            "results": self.results,
            "failure": self.failure.to_json() if self.failure else None,
            "events": [event.to_json() for event in self.events],
        }
        try:
            _upload(self.uri, PART, json.dumps(content, ensure_ascii=False))
            self._next = time.monotonic() + PAUSE_SECONDS
        except BadInput as error:
            self._next = time.monotonic() + OUTAGE_SECONDS
            print(f"the record of the run could not be written, the step goes on: {error}", file=sys.stderr, flush=True)


def read(uri: str) -> Record:
    """Read the record of a run from the store; it is empty when the store has none.

    A failure of a step that has a result is ignored: a later attempt of the step succeeded.

    Args:
        uri: URI of the run.

    Raises:
        BadInput: the store cannot be used, or the record is too new.
    """
    from slipway.components.platforms import storage

    parts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        if not storage.folder_exists(uri):
            return Record(None, {}, None, [], uri)
        storage.download_folder(uri, folder)
        parts = [json.loads(path.read_text("utf-8")) for path in sorted(folder.rglob(PART))]
    for part in parts:
        formats.check(f"the record of the run in {uri}", part, FORMAT)
    parts.sort(key=lambda part: max((event["time"] for event in part["events"]), default=0.0))
    results = {step: result for part in parts for step, result in part["results"].items()}
    failures = [Failure.model_validate(part["failure"]) for part in parts if part["failure"]]
    failures = [failure for failure in failures if failure.step not in results]
    events = [Event.model_validate(event) for part in parts for event in part["events"]]
    events.sort(key=lambda event: event.time)
    return Record(None, results, failures[-1] if failures else None, events, uri)  # the last attempt's failure


def put_report(uri: str, html: str) -> None:
    """Store the report of a run. When that fails, a line is printed and the caller goes on."""
    try:
        _upload(f"{uri}/report", REPORT, html)
    except BadInput as error:
        print(f"the report could not be stored: {error}", file=sys.stderr, flush=True)


def get_report(uri: str, path: Path) -> None:
    """Download the report of a run.

    Args:
        uri: URI of the run.
        path: of the file to write.

    Raises:
        BadInput: the run has no report, or the store cannot be used.
    """
    from slipway.components.platforms import storage

    storage.download_file(f"{uri}/report/{REPORT}", path)


def _upload(uri: str, name: str, text: str) -> None:
    from slipway.components.platforms import storage  # imported here, since boto3 is slow to import and for pods only

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(text, "utf-8")
        storage.upload_folder(Path(folder), uri)
