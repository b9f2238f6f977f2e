"""The configuration of a worker process: a JSON file that the launcher writes and each worker reads."""

import hashlib
import json
from pathlib import Path

from slipway.components.artifacts.encoder import encoder_identity
from slipway.components.learning.settings import TrainSettings
from slipway.components.settings import Settings

STEP = "train"
STATE_FORMAT = 1
"""Increase it when the training loop or the checkpoints change so that an older checkpoint must not be resumed."""

NO_EFFECT_ON_WEIGHTS = {"experiment", "checkpoint_every"}
"""Settings that may change between a killed training and its resumption."""


class WorkerConfig(Settings):
    """The configuration of the workers of one training. Paths are absolute and the same for all workers."""

    dataset: Path
    output: Path
    work: Path
    """Folder with the checkpoints of this training; it is kept when a run is killed."""
    launch: Path
    """Folder of one launch of the workers: this file, result and error."""
    digest: str
    tracking_uri: str
    run_name: str
    settings: TrainSettings

    @property
    def result_file(self) -> Path:
        """The file to which the first worker writes the result."""
        return self.launch / "result.json"

    @property
    def error_file(self) -> Path:
        """The file to which a worker writes a SlipwayError: name of its class, and message."""
        return self.launch / "error.json"


def training_digest(settings: TrainSettings, dataset_digest: str) -> str:
    """The digest of everything that determines the final weights, `sha256:…`.

    A training resumes only from a checkpoint with the same digest.

    Raises:
        BadInput: the encoder is not installed, or its folder has no encoder.
    """
    record = {
        "format": STATE_FORMAT,
        "dataset": dataset_digest,
        "encoder": encoder_identity(settings.encoder),
        "settings": settings.model_dump(exclude=NO_EFFECT_ON_WEIGHTS),
    }
    return f"sha256:{hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()}"
