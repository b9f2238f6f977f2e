"""Run the pipeline on this machine by kfp.local: `python -m pipelines.local_run RUN_FOLDER`, in a process of its own.

The folder holds `settings.json`, resolved; everything that is printed goes to the log of whoever starts this.
"""

import contextlib
import fcntl
import hashlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components import progress, stage
from components.errors import SlipwayError
from components.prepare_data.settings import SAMPLE
from pipelines.places import Places
from pipelines.preflight import check
from pipelines.settings import SlipwaySettings

SETTINGS = "settings.json"


@contextmanager
def exclusive(places: Places, run: str) -> Iterator[None]:
    """Hold the home folder for one run.

    Raises:
        SlipwayError: another run holds it.
    """
    with (places.home / "run.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise SlipwayError(
                f"run {file.read()} is at work in {places.home}; wait for it, or set SLIPWAY_HOME to another folder"
            ) from None
        file.truncate(0)
        file.write(run)
        file.flush()
        yield


def arguments(settings: SlipwaySettings, places: Places, run: str) -> dict[str, Any]:
    """The pipeline's parameters for resolved settings."""
    sections = settings.model_dump(mode="json")
    return sections | {
        "work": str(places.home / "work"),
        "service": str(places.service),
        "public_key": str(Path(settings.registry.keys) / "public.pem"),
        "source_version": source_version(settings.data.source, run),
        "run": run,
    }


def source_version(source: str, run: str) -> str:
    """A digest of the files behind a local source; for a remote one the run, since it can change unseen."""
    path = Path(source).expanduser()
    if source == SAMPLE:
        return ""  # the step's code version covers the package's own data
    if not path.exists():
        return run
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode() + b"\0")
        with file.open("rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()


class _CacheHits(logging.Handler):
    """Turns kfp's log line about a skipped task into a progress event."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if " cache hit " in message:
            task = message.split()[1].replace("-", "_")
            progress.event("select_model" if task == "choose" else task, "unchanged")


def main(folder: Path) -> None:
    """Check what can be checked, then run every step."""
    from kfp import local

    from pipelines.pipeline import pipeline

    places = Places.here()
    settings = SlipwaySettings.model_validate_json((folder / SETTINGS).read_text("utf-8"))
    with contextlib.ExitStack() as held:
        with stage.guarded("preflight"):
            held.enter_context(exclusive(places, folder.name))
            check(settings, places)
        logging.basicConfig(level=logging.INFO, handlers=[logging.StreamHandler(sys.stdout), _CacheHits()])
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(places.home / "artifacts"),
            raise_on_error=False,
            enable_caching=True,
            cache_root=str(places.home / "cache"),
        )
        pipeline(**arguments(settings, places, folder.name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
