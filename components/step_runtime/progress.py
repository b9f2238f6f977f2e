"""Progress events of the running step, for a live display of the run.

When `SLIPWAY_RUN` names the folder of a run, each event is appended as a line to its `progress.jsonl`. The `slipway`
command sets that variable, and shows the events. On a cluster the messages are in the step's log, and `listeners` get
the events.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

listeners: list[Callable[[dict[str, Any]], None]] = []
"""Functions that are called with every event of this process."""


def report(step: str, message: str, done: float | None = None, total: float | None = None) -> None:
    """Report that `step` has done `done` of `total` units of work (batches, folds, seconds), with a short message."""
    event(step, "progress", message=message, done=done, total=total)
    share = f" {done:g}/{total:g}" if done is not None and total else ""
    print(f"[{step}]{share} {message}", file=sys.stderr, flush=True)


def event(step: str, kind: str, **values: str | float | None) -> None:
    """Record an event of a step: `started`, `progress`, `part` (one of several parts ended), `finished` or `failed`."""
    record = {"time": time.time(), "step": step, "kind": kind, **values}
    if folder := os.environ.get("SLIPWAY_RUN"):
        with (Path(folder) / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    for listener in listeners:
        listener(record)
