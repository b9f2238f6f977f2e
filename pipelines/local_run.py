"""Run the pipeline on this machine by kfp.local: `python -m slipway.pipelines.local_run RUN_FOLDER`, in a process of
its own.

The folder holds the resolved `settings.json`. The parent process redirects all output to the log of the run.
"""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.components.errors import SlipwayError
from slipway.components.machine import file_lock
from slipway.components.machine.private_files import private_folder
from slipway.components.step_runtime import progress, step_context
from slipway.pipelines import pipeline_parameters
from slipway.pipelines.home import Places
from slipway.pipelines.settings import SlipwaySettings

SETTINGS, LOCK = "settings.json", "run.lock"


@contextmanager
def exclusive(places: Places, run: str) -> Iterator[None]:
    """Lock the home folder for one run.

    Raises:
        SlipwayError: another run holds it.
    """
    try:
        lock = file_lock.take(private_folder(places.home) / LOCK, note=run)
    except file_lock.Held as held:
        raise SlipwayError(
            f"run {held} is at work in {places.home}; wait for it, or set SLIPWAY_HOME to another folder"
        ) from None
    with lock:
        yield


def running(places: Places) -> str:
    """The name of the run that is going on in a home folder; empty when there is none."""
    return file_lock.holder(places.home / LOCK) or ""


class _CacheHits(logging.Handler):
    """Turns kfp's log line about a skipped task into a progress event."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if " cache hit " in message:
            task = message.split()[1].replace("-", "_")
            # The task `train` also finishes the step `select_model`: it begins by choosing a candidate.
            for step in ("select_model", "train") if task == "train" else (task,):
                progress.event(step, "unchanged")


def main(folder: Path) -> None:
    """Run every step of the pipeline.

    Args:
        folder: of the run, with its settings.
    """
    from kfp import local

    from slipway.pipelines.pipeline import pipeline

    places = Places.here()
    settings = SlipwaySettings.model_validate_json((folder / SETTINGS).read_text("utf-8"))
    with contextlib.ExitStack() as locks:
        with step_context.guarded("preflight", finishes=False):
            locks.enter_context(exclusive(places, folder.name))
        # kfp.local warns of every setting of a task that has an effect in pods only.
        for warning in ("no effect in the current local runner", "custom or non-Python base image"):
            warnings.filterwarnings("ignore", message=f".*{warning}")
        logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler(sys.stdout), _CacheHits()])
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(places.home / "artifacts"),
            raise_on_error=False,
            enable_caching=True,
            cache_root=str(places.home / "cache"),
        )
        pipeline(**pipeline_parameters.filled(settings, SlipwaySettings()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
