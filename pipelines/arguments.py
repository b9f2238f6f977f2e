"""What a run passes to the pipeline: from this machine, or on Kubeflow Pipelines."""

import hashlib
from pathlib import Path
from typing import Any

from components.encoder import encoder_identity
from components.errors import BadInput
from components.prepare_data.settings import SAMPLE
from pipelines.for_cluster import RUNS, encoders
from pipelines.places import Places
from pipelines.settings import SlipwaySettings


def from_here(settings: SlipwaySettings, places: Places, run: str) -> dict[str, Any]:
    """The pipeline's parameters for resolved settings and a run by kfp.local."""
    return settings.model_dump(mode="json") | {
        "work": str(places.home / "work"),
        "service": str(places.service),
        "public_key": str(Path(settings.registry.keys) / "public.pem"),
        "record": "",
        "source_version": source_version(settings.data.source, run),
        "encoder_version": encoder_version(settings),
        "run": run,
    }


def in_pods(settings: SlipwaySettings, run: str) -> dict[str, Any]:
    """The pipeline's parameters for settings of `for_cluster.for_pods`; folders have the compiled defaults."""
    return settings.model_dump(mode="json") | {
        "record": f"{settings.cluster.store}/{RUNS}",
        "source_version": source_version(settings.data.source, run),
        "run": run,
    }


def encoder_version(settings: SlipwaySettings) -> str:
    """A digest of the encoders' files on this machine; those of a hub count by their names."""
    identities = [encoder_identity(encoder) for _, encoder in encoders(settings)]
    return hashlib.sha256("\n".join(identities).encode()).hexdigest()


def source_version(source: str, run: str) -> str:
    """A digest of the files behind a local source; for a remote one the run, since it can change unseen.

    Raises:
        BadInput: a file cannot be read, or the source cannot be a path.
    """
    if source == SAMPLE:
        return ""  # the step's code version covers the package's own data
    try:
        path = Path(source).expanduser()
        return _digest(path) if path.exists() else run
    except (OSError, RuntimeError) as error:  # the latter for a home that nobody has
        raise BadInput(f"data.source {source} cannot be read: {error}") from error


def _digest(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    whole = hashlib.sha256()
    for file in files:
        whole.update(str(file.relative_to(path)).encode() + b"\0")
        with file.open("rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()
