"""Entry point of the step `train`."""

import json
from pathlib import Path
from typing import Any

from components import progress
from components.dataset import TextDataset
from components.errors import BadInput, SlipwayError
from components.train.config import WorkerConfig
from components.train.launcher import Launcher, LocalLauncher
from components.train.settings import TrainSettings


def run(
    dataset: Path,
    choice: dict[str, Any],
    settings: TrainSettings,
    output: Path,
    work: Path,
    tracking_uri: str,
    run_name: str,
    launcher: Launcher | None = None,
) -> dict[str, Any]:
    """Train a classifier on a dataset folder and write the best model to `output`.

    Args:
        dataset: the dataset folder.
        choice: settings that the step `select_model` chose; they override `settings`.
        settings: how to train.
        output: becomes a checkpoint folder.
        work: a folder that outlives a killed run; a later run with the same data and settings goes on from it.
        tracking_uri: the MLflow tracking server.
        run_name: name of a new MLflow run.
        launcher: where the workers run; torchrun on this machine by default.

    Returns:
        Best epoch, validation scores, curves, seconds, updates, processes, the update from which the training was
        resumed (or null), MLflow run id, settings and number of parameters.

    Raises:
        BadInput: the dataset, the choice, the encoder or the tracking server cannot be used.
        SlipwayError: a worker failed.
    """
    chosen = settings.with_choice(choice)
    data = TextDataset(dataset)
    for split in ("train", "validation"):
        if not len(data.label_ids(split)):
            raise BadInput(f"the {split} split of {dataset} is empty; check the split shares of prepare_data")
    work.mkdir(parents=True, exist_ok=True)
    config = WorkerConfig(
        dataset=dataset.absolute(),
        output=output.absolute(),
        work=work.absolute(),
        tracking_uri=tracking_uri,
        run_name=run_name,
        settings=chosen,
    )
    config.result_file.unlink(missing_ok=True)
    config_path = config.work / "train.json"
    config_path.write_text(config.model_dump_json(indent=1), "utf-8")
    progress.report("train", f"starting {chosen.processes} worker processes")
    (launcher or LocalLauncher(config.work / "train.log")).launch(config_path)
    try:
        result: dict[str, Any] = json.loads(config.result_file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SlipwayError(f"the workers ended without a result in {work} ({error}); train again") from error
    return result
