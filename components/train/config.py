"""All that a worker process needs to know, in one JSON file: the launcher writes it, each worker reads it."""

import hashlib
import json
from pathlib import Path

from slipway.components.artifacts.encoder import encoder_identity
from slipway.components.learning.settings import TrainSettings
from slipway.components.settings import Settings

STATE_FORMAT = 1
"""Raised when the loop or the checkpoints change so that an older checkpoint must not be continued."""

NO_EFFECT_ON_WEIGHTS = {"experiment", "checkpoint_every"}


class WorkerConfig(Settings):
    """Paths are absolute and seen equally by all workers."""

    dataset: Path
    output: Path
    work: Path
    """Checkpoints of this training; it outlives a killed run."""
    launch: Path
    """What one launch of the workers leaves: this file, result and error."""
    digest: str
    tracking_uri: str
    run_name: str
    settings: TrainSettings

    @property
    def result_file(self) -> Path:
        """Where the first worker puts the result."""
        return self.launch / "result.json"

    @property
    def error_file(self) -> Path:
        """Where a worker puts an error with a clear message: class name and message."""
        return self.launch / "error.json"


def training_digest(settings: TrainSettings, dataset_digest: str) -> str:
    """Of everything that decides the final weights; only a checkpoint with the same digest is continued.

    Raises:
        BadInput: the encoder is not installed or its folder is no encoder.
    """
    record = {
        "format": STATE_FORMAT,
        "dataset": dataset_digest,
        "encoder": encoder_identity(settings.encoder),
        "settings": settings.model_dump(exclude=NO_EFFECT_ON_WEIGHTS),
    }
    return f"sha256:{hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()}"
