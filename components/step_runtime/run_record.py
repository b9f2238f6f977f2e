"""The record of a run: results by step, the failure and progress events, in a folder or in a store.

On one machine the steps of a run share a folder; see `slipway.components.step_runtime.step_context`. Pods share no
disk, so each process of a step writes one object of its own to a store that all reach, whole, and again whenever
something happens:

    RECORD/RUN/STEP-POD/record.json     {"format": 1, "results": all so far, "failure": or null, "events": [...]}
    RECORD/RUN/report/report.html       the page of the run, written by the exit task

RECORD is `runs` below the run's store, RUN the run's id, which Kubeflow Pipelines puts on the pod (SLIPWAY_RUN_ID).
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

from slipway.components import formats
from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import STORE
from slipway.components.settings import unfolded
from slipway.components.step_runtime.step_result import Results

RUN, RUN_ID, RUNS = "SLIPWAY_RUN", "SLIPWAY_RUN_ID", "runs"
PART, REPORT = "record.json", "report.html"
FORMAT = 1
"""Of `record.json`; see `slipway.components.formats`."""
PAUSE_SECONDS = 10.0
"""Between two writes because of progress; a start and an end are written at once."""

OUTAGE_SECONDS = 60.0
"""Pause after a write that failed."""


class Record(NamedTuple):
    """What is known of a run: results by step, the failure (or None) and progress events in order."""

    folder: Path | None
    results: Results
    failure: dict[str, Any] | None
    events: list[dict[str, Any]]
    place: str = ""
    """URI of the run in the store, when that is where the record was read."""


def uri_of(settings: Mapping[str, Any]) -> str:
    """The URI below which the pods of a run keep its record, whatever else is wrong with the settings of the run.

    Args:
        settings: those that were given; see `slipway.components.settings.unfolded`.
    """
    sections = [unfolded(settings).get(name) for name in ("cluster", "registry")]
    stores = [section.get("store") for section in sections if isinstance(section, dict)]
    store = next((str(store) for store in stores if store), STORE)
    return f"{store.rstrip('/')}/{RUNS}"


def place_of(record: str) -> str:
    """Where the record of this pod's run is in the store; empty when the run has a folder or none was asked for.

    Args:
        record: URI below which all runs are kept, or empty.
    """
    run = os.environ.get(RUN_ID)
    return f"{record.rstrip('/')}/{run}" if record and run and not os.environ.get(RUN) else ""


def run_name() -> str:
    """The name of the run: the id that its pods have, or that of its folder."""
    return os.environ.get(RUN_ID, "") or Path(os.environ.get(RUN, "")).name


class Mirror:
    """Keeps the object of this process up to date. A store that does not answer costs the record, not the step."""

    def __init__(self, place: str, step: str) -> None:
        self.uri = f"{place}/{step}-{os.environ.get('KFP_POD_NAME') or uuid.uuid4().hex}"
        self.results: Results = {}
        self.failure: dict[str, Any] | None = None
        self.events: list[dict[str, Any]] = []
        self._next = 0.0
        self._lock = threading.Lock()

    def event(self, event: dict[str, Any]) -> None:
        """Add a progress event; of several messages in a row the last one is kept."""
        passing = event["kind"] == "progress"
        with self._lock:
            if passing and self.events and self.events[-1]["kind"] == "progress":
                self.events.pop()
            self.events.append(event)
            if not passing or time.monotonic() >= self._next:
                self._write()

    def update(self, results: Results | None = None, failure: dict[str, Any] | None = None) -> None:
        """Change what is known; it is written with the next event, which follows at once."""
        with self._lock:
            self.results = results if results is not None else self.results
            self.failure = failure or self.failure

    def _write(self) -> None:
        content = {formats.KEY: FORMAT, "results": self.results, "failure": self.failure, "events": self.events}
        try:
            _upload(self.uri, PART, json.dumps(content, ensure_ascii=False))
            self._next = time.monotonic() + PAUSE_SECONDS
        except BadInput as error:
            self._next = time.monotonic() + OUTAGE_SECONDS
            print(f"the record of the run could not be written, the step goes on: {error}", file=sys.stderr, flush=True)


def read(place: str) -> Record:
    """What the steps of a run left in the store; empty when there is nothing.

    A failure counts while its step has no result: a later attempt may have had one.

    Raises:
        BadInput: the store cannot be used, or the record is too new.
    """
    from slipway.components.platforms import storage

    parts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        if not storage.folder_exists(place):
            return Record(None, {}, None, [], place)
        storage.download_folder(place, folder)
        parts = [json.loads(path.read_text("utf-8")) for path in sorted(folder.rglob(PART))]
    for part in parts:
        formats.check(f"the record of the run in {place}", part, FORMAT)
    parts.sort(key=lambda part: max((event["time"] for event in part["events"]), default=0.0))
    results = {step: result for part in parts for step, result in part["results"].items()}
    failures = [part["failure"] for part in parts if part["failure"] and part["failure"]["step"] not in results]
    events = sorted((event for part in parts for event in part["events"]), key=lambda event: float(event["time"]))
    return Record(None, results, failures[-1] if failures else None, events, place)  # of several attempts the last


def put_report(place: str, html: str) -> None:
    """Store the page of a run; a store that does not answer is reported and costs the copy only."""
    try:
        _upload(f"{place}/report", REPORT, html)
    except BadInput as error:
        print(f"the report could not be stored: {error}", file=sys.stderr, flush=True)


def get_report(place: str, path: Path) -> None:
    """Bring the page of a run to a file.

    Raises:
        BadInput: there is none, or the store cannot be used.
    """
    from slipway.components.platforms import storage

    storage.download_file(f"{place}/report/{REPORT}", path)


def _upload(uri: str, name: str, text: str) -> None:
    from slipway.components.platforms import storage  # needs boto3, which only pods pay for

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(text, "utf-8")
        storage.upload_folder(Path(folder), uri)
