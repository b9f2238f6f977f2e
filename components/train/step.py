"""Entry point of the step `train`: prepare the work folder, launch the workers and read their result."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.learning.settings import TrainSettings
from slipway.components.step_runtime import progress
from slipway.components.train.config import WorkerConfig, training_digest
from slipway.components.train.launcher import Launcher, LocalLauncher
from slipway.components.train.result import TrainResult


def run(
    dataset: Path,
    choice: Mapping[str, JsonValue],
    settings: TrainSettings,
    output: Path,
    work: Path,
    tracking_uri: str,
    launcher: Launcher | None = None,
) -> TrainResult:
    """Train a classifier on a dataset folder and write the best model to `output`.

    Args:
        dataset: the dataset folder.
        choice: settings that the step `select_model` chose; they override `settings`.
        settings: how to train.
        output: becomes a checkpoint folder.
        work: a folder that is kept when a run is killed. Each training has a folder of its own in it, named by the
            digest of its data, encoder and settings. A later run of the same training resumes from there.
        tracking_uri: the MLflow tracking server.
        launcher: where the workers run; torchrun on this machine by default.

    Raises:
        BadInput: the dataset, the choice, the encoder or the tracking server cannot be used.
        SlipwayError: a worker failed.
    """
    chosen = settings.with_choice(choice)
    data = TextDataset(dataset)
    for split in ("train", "validation"):
        if not len(data.label_ids(split)):
            raise BadInput(f"the {split} split of {dataset} is empty; check the split shares of prepare_data")
    digest = training_digest(chosen, data.digest)
    key = digest.removeprefix("sha256:")[:16]
    training_folder = work.absolute() / key
    training_folder.mkdir(parents=True, exist_ok=True)
    config = WorkerConfig(
        dataset=dataset.absolute(),
        output=output.absolute(),
        work=training_folder,
        launch=Path(tempfile.mkdtemp(prefix="launch-", dir=training_folder)),
        digest=digest,
        tracking_uri=tracking_uri,
        run_name=f"train-{key}",
        settings=chosen,
    )
    try:
        return _launch(config, launcher or LocalLauncher(training_folder / "train.log"))
    finally:
        shutil.rmtree(config.launch, ignore_errors=True)


def _launch(config: WorkerConfig, launcher: Launcher) -> TrainResult:
    config_path = config.launch / "train.json"
    config_path.write_text(config.model_dump_json(indent=1), "utf-8")
    progress.report("train", f"starting {config.settings.processes} worker processes")
    launcher.launch(config_path)
    try:
        return TrainResult.model_validate_json(config.result_file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SlipwayError(f"the workers ended without a result in {config.work} ({error}); train again") from error
