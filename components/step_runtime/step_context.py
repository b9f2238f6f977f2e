"""What every component does around its step: read the earlier results, record how the step ends, pass the results on.

The results of a run are one JSON object: step name to the step's result. A component reads it from the folder of its
input artifact (`results.json` beside a dataset, a model or a draft). It writes a copy with its own result into the
folder of its output artifact. So the last component that runs has all results, also those of steps that the cache
skipped.

When `SLIPWAY_RUN` names the folder of a run (the `slipway` command sets it), the record of the run is written there.
Pods write it to a store instead; see `slipway.components.step_runtime.run_record`. The folder has:

    results.json    all results so far
    failure.json    step, error class, message and exit code, when a step failed
    progress.jsonl  progress events
    logs/STEP.log   all output of a step
"""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.machine import whole_file
from slipway.components.step_runtime import html, progress, run_record
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.run_record import Failure, Mirror, Record
from slipway.components.step_runtime.step_result import Results, StepResult

RESULTS, FAILURE, PROGRESS, LOGS = "results.json", "failure.json", "progress.jsonl", "logs"


class StepContext:
    """The context of a step that is running; see `running`."""

    def __init__(self, name: str, results: Results, page_path: str, mirror: Mirror | None) -> None:
        self.name, self.results = name, results
        self._page_path, self._mirror = page_path, mirror

    def finish(self, result: StepResult, section: str = "", artifact: str = "") -> None:
        """Store the step's result.

        Args:
            result: of the step.
            section: the step's section of the report, as an HTML fragment. It is also written as a page of its own.
            artifact: path of the folder of the output artifact, which gets all results so far; empty for none.
        """
        self.results[self.name] = result.to_json()
        keep_results(self.results)
        if artifact:
            _write(Path(artifact) / RESULTS, json.dumps(self.results, ensure_ascii=False))
        if self._mirror:
            self._mirror.update(self.results)
        if self._page_path:
            _write(Path(self._page_path), html.document(self.name, section))


def results_in(artifact: str) -> Results:
    """The results in the folder of an artifact; an empty dict when it has none."""
    path = Path(artifact) / RESULTS
    results: Results = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return results


def keep_results(results: Results) -> None:
    """Add results to those in the folder of the run; does nothing without such a folder."""
    if path := _run_file(RESULTS):
        earlier = json.loads(path.read_text("utf-8")) if path.exists() else {}
        _write(path, json.dumps(earlier | results, ensure_ascii=False))


@contextlib.contextmanager
def running(
    name: str, results: Results, page_path: str, metadata_only: Sequence[str] = (), record: str = ""
) -> Iterator[StepContext]:
    """Surround a step. The step must call `StepContext.finish` at its end.

    A SlipwayError is printed as one line. Any other error also leaves its traceback in the log.

    Args:
        name: the step's name.
        results: of the steps before; the step's own result is added to it.
        page_path: path of the step's HTML page; empty for a step without one.
        metadata_only: paths of artifacts that have metadata and no content, such as metrics. They get an empty file,
            since the cache of kfp.local takes an artifact without a file for lost.
        record: URI below which pods keep the records of runs; empty for none.

    Raises:
        SystemExit: the step failed; with the exit code of the error's class, or 1.
    """
    keep_results(results)
    with _log(name), _mirrored(name, record, results) as mirror, guarded(name, mirror=mirror):
        yield StepContext(name, results, page_path, mirror)
        for artifact in map(Path, metadata_only):
            artifact.parent.mkdir(parents=True, exist_ok=True)
            artifact.touch()


@contextlib.contextmanager
def part(name: str, results: Results, record: str = "") -> Iterator[None]:
    """Surround a component that does a part of a step. Another component finishes the step.

    Args:
        name: the step's name; its parts share a log.
        results: of the steps before.
        record: as in `running`.

    Raises:
        SystemExit: as in `running`.
    """
    keep_results(results)
    with _log(name), _mirrored(name, record, results) as mirror, guarded(name, finishes=False, mirror=mirror):
        yield


@contextlib.contextmanager
def guarded(name: str, finishes: bool = True, mirror: Mirror | None = None) -> Iterator[None]:
    """Record the start and the end of a step or of a part of it, and turn an error into an exit code.

    Args:
        name: the step's name.
        finishes: whether the end of the block is the end of the step.
        mirror: the record in the store, if there is one.

    Raises:
        SystemExit: the block failed.
    """
    progress.event(name, "started")
    try:
        yield
    except (SlipwayError, ValidationError) as caught:
        error = caught if isinstance(caught, SlipwayError) else _bad_settings(caught)
        _failed(name, error, error.exit_code, mirror)
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        traceback.print_exc()
        _failed(name, error, 1, mirror)
        raise SystemExit(1) from None
    if finishes:
        progress.event(name, "finished")


def record(folder: Path | None = None, store: str = "") -> Record:
    """Read the record of a run; it is empty when there is none.

    Args:
        folder: of the run; None for the one that `SLIPWAY_RUN` names.
        store: URI below which pods keep the records of runs; it is read when there is no folder.
    """
    folder = folder or _run_file(".")
    if folder is None:
        uri = run_record.run_uri(store)
        return _stored(uri) if uri else Record(None, {}, None, [])
    texts = [path.read_text("utf-8") if (path := folder / name).exists() else "" for name in (RESULTS, FAILURE)]
    results, failure = (json.loads(text) if text else None for text in texts)
    failure = Failure.model_validate(failure) if failure else None
    events = folder / PROGRESS
    lines = events.read_text("utf-8").splitlines() if events.exists() else []
    return Record(folder, results or {}, failure, [Event.model_validate_json(line) for line in lines])


def _stored(uri: str) -> Record:
    """The record in the store; when the store cannot be used, a record with that failure."""
    try:
        return run_record.read(uri)
    except SlipwayError as error:
        return Record(None, {}, _failure("report", error, error.exit_code), [])


@contextlib.contextmanager
def _mirrored(name: str, record: str, results: Results) -> Iterator[Mirror | None]:
    """Keep the record of this process in the store; does nothing when the run has a folder, or no store."""
    uri = run_record.run_uri(record)
    if not uri:
        yield None
        return
    mirror = Mirror(uri, name)
    mirror.update(results)
    progress.listeners.append(mirror.event)
    try:
        yield mirror
    finally:
        progress.listeners.remove(mirror.event)


def _bad_settings(error: ValidationError) -> BadInput:
    """An error for settings that did not come through the `slipway` command, which validates them before the run."""
    problems = [f"{'.'.join(map(str, item['loc']))} = {item['input']!r}: {item['msg']}" for item in error.errors()]
    return BadInput(f"the settings cannot be used: {'; '.join(problems)}")


def _failed(name: str, error: Exception, exit_code: int, mirror: Mirror | None) -> None:
    failure = _failure(name, error, exit_code)
    if path := _run_file(FAILURE):
        _write(path, json.dumps(failure.to_json(), ensure_ascii=False))
    if mirror:
        mirror.update(failure=failure)
    progress.event(name, "failed")


def _failure(name: str, error: Exception, exit_code: int) -> Failure:
    return Failure(step=name, kind=type(error).__name__, message=str(error), exit_code=exit_code)


def _run_file(name: str) -> Path | None:
    folder = os.environ.get("SLIPWAY_RUN")
    return Path(folder) / name if folder else None


def _write(path: Path, text: str) -> None:
    """Replace a file at once, since trainings of cross-validation run side by side and read the same files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_file.replace(path, text, durable=False)  # a loss of power ends the run too


@contextlib.contextmanager
def _log(name: str) -> Iterator[None]:
    """Redirect the output of this process and its children to the step's log, when there is a run folder.

    File descriptors 1 and 2 are redirected, not `sys.stdout`, so that child processes and libraries in C are included.
    """
    path = _run_file(f"{LOGS}/{name}.log")
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    originals = os.dup(1), os.dup(2)
    with path.open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for original, descriptor in zip(originals, (1, 2), strict=True):
            os.dup2(original, descriptor)
            os.close(original)
