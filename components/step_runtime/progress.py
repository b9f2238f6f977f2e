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

from pydantic import BaseModel, ConfigDict


class Event(BaseModel):
    """Something that happened in a step."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    time: float
    """Seconds since the epoch."""
    step: str
    """Name of the step."""
    kind: str
    """`started`, `progress`, `part` (one of several parts ended), `finished`, `failed`, or `unchanged` (the cache had
    the result). Readers add `cancelled`, `lost` (how it ended cannot be seen), and `there` (a time of the run)."""
    message: str = ""
    """Of `progress`: what goes on."""
    done: float | None = None
    """Of `progress`: units of work that are done."""
    total: float | None = None
    """Of `progress`: units of work in all."""

    def to_json(self) -> dict[str, Any]:
        """The event as plain JSON."""
        return self.model_dump(exclude_none=True)


listeners: list[Callable[[Event], None]] = []
"""Functions that are called with every event of this process."""


def report(step: str, message: str, done: float | None = None, total: float | None = None) -> None:
    """Report that `step` has done `done` of `total` units of work (batches, folds, seconds), with a short message."""
    event(step, "progress", message, done, total)
    share = f" {done:g}/{total:g}" if done is not None and total else ""
    print(f"[{step}]{share} {message}", file=sys.stderr, flush=True)


def event(step: str, kind: str, message: str = "", done: float | None = None, total: float | None = None) -> None:
    """Record an event of a step; see `Event`."""
    record = Event(time=time.time(), step=step, kind=kind, message=message, done=done, total=total)
    if folder := os.environ.get("SLIPWAY_RUN"):
        with (Path(folder) / "progress.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record.to_json()) + "\n")
    for listener in listeners:
        listener(record)
