"""The data, and the teacher that slipway.components.train makes of it; kept in a work folder, so that reruns are
cheap.
"""

import json
from pathlib import Path

from slipway.components.artifacts.checkpoint import INFO
from slipway.components.artifacts.dataset import TextDataset, write_dataset
from slipway.components.learning.settings import TrainSettings
from slipway.components.train import step
from slipway.components.train.config import training_digest

FILES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
LABELS = ["negative", "positive"]


def read_dataset(data: Path, work: Path) -> TextDataset:
    """The three splits of SST-2 (text, tab, class; no header) as a dataset folder."""
    splits = {split: _rows(data / name) for split, name in FILES.items()}
    return write_dataset(work / "dataset", splits, LABELS, {"source": "SST-2"})


def trained(dataset: TextDataset, encoder: str, seed: int, threads: int, work: Path) -> Path:
    """The checkpoint folder of a teacher; trained once for the same data, encoder and seed.

    The learning rate is half of the default: with 7,000 sentences the encoder needs no more.
    """
    settings = TrainSettings(  # the recipe of the teachers of `results.json`, whatever the defaults are
        encoder=encoder,
        max_length=64,
        learning_rate=1e-4,
        layer_decay=1.0,
        linear_probe=False,
        epochs=3,
        evaluations=1,
        patience=2,
        seed=seed,
        processes=threads,
        threads_per_process=1,
    )
    digest = training_digest(settings, dataset.digest).removeprefix("sha256:")[:16]
    folder = work / "teachers" / digest
    if not (folder / INFO).exists():
        tracking = f"sqlite:///{work.absolute() / 'mlflow.db'}"
        result = step.run(dataset.folder, {}, settings, folder, work / "training", tracking)
        (folder / "result.json").write_text(json.dumps(result.to_json(), indent=1), "utf-8")
    return folder


def _rows(path: Path) -> tuple[list[str], list[int]]:
    rows = [line.rsplit("\t", 1) for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [text for text, _ in rows], [int(label) for _, label in rows]
