"""Progress of the running step, for a person who watches: one event a line.

A step's process appends events to the file named by `SLIPWAY_PROGRESS` when that is set (the `slipway`
command sets it and shows them live); on a cluster the same events are lines of the step's log.
"""

import json
import os
import sys
import time
from pathlib import Path


def report(step: str, message: str, done: float | None = None, total: float | None = None) -> None:
    """Say where `step` stands: `done` of `total` units of work (batches, folds, seconds), with a short message."""
    event = {"time": time.time(), "step": step, "message": message, "done": done, "total": total}
    if path := os.environ.get("SLIPWAY_PROGRESS"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event) + "\n")
    share = f" {done:g}/{total:g}" if done is not None and total else ""
    print(f"[{step}]{share} {message}", file=sys.stderr, flush=True)
