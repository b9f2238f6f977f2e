"""Entry points of the step `select_model`: plan, one training of cross-validation, and the choice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from components import progress
from components.dataset import TextDataset
from components.encoder import encoder_identity
from components.errors import BadInput, SlipwayError
from components.select_model.choice import FoldScore, one_standard_error, summarise
from components.select_model.folds import assign_folds, draw
from components.select_model.settings import Candidate, SelectSettings, candidates_of
from components.train.settings import TrainSettings

STEP = "select_model"


def plan(settings: SelectSettings, train: TrainSettings) -> list[dict[str, Any]]:
    """The trainings to be made, each as plain JSON with all that it needs.

    `candidate` is its name, `fold` the one to hold out, `train` its settings where they differ from the defaults,
    `weights` the version of the encoder; `folds`, `texts` and `seed` make the same folds for all. What it does not
    need is not in it, so that a cache knows it again beside other candidates. When there is nothing to compare, the
    list has one item that trains nothing: Kubeflow Pipelines cannot collect the results of an empty loop.

    Raises:
        BadInput: a candidate cannot be used, or there is no such encoder.
    """
    candidates = candidates_of(settings, train)
    if len(candidates) == 1:
        return [{"candidate": candidates[0].name}]
    shared = settings.model_dump(include={"folds", "texts", "seed"})
    return [
        {
            "candidate": candidate.name,
            "fold": fold,
            "train": _for_folds(candidate, settings).model_dump(exclude_defaults=True),
            "weights": encoder_identity(candidate.train.encoder),
        }
        | shared
        for candidate in candidates
        for fold in range(settings.folds)
    ]


def _for_folds(candidate: Candidate, settings: SelectSettings) -> TrainSettings:
    """The candidate's settings for one process, with updates over as many texts as in the step train."""
    train = candidate.train
    changes: dict[str, Any] = {
        "processes": 1,
        "threads_per_process": 1,
        "accumulation": train.accumulation * train.processes,
    }
    if settings.epochs and "epochs" not in candidate.changes:
        changes["epochs"] = settings.epochs
    return train.model_copy(update=changes)


def cross_validate(dataset: Path, item: dict[str, Any]) -> dict[str, Any]:
    """Make one of the planned trainings and score it on the fold that it did not see.

    Args:
        dataset: the dataset folder; only its training split is used.
        item: one of the list that `plan` returned; kfp may have made its whole numbers floats.

    Returns:
        A `FoldScore`; nothing for an item that trains nothing.

    Raises:
        BadInput: there are too few texts, or the encoder cannot be used.
    """
    if "fold" not in item:
        return {}
    from components.select_model.fold_training import train_and_score

    fold, folds, texts, seed = (int(item[name]) for name in ("fold", "folds", "texts", "seed"))
    data = TextDataset(dataset)
    label_ids = data.label_ids("train")
    rows = draw(label_ids, texts, seed)
    if len(rows) < 2 * folds:
        raise BadInput(f"{len(rows)} training texts are too few for {folds} folds; set select.folds to less")
    held_out = assign_folds(label_ids[rows], folds, seed) == fold
    settings = TrainSettings.model_validate(item["train"])
    score = train_and_score(data, rows[~held_out], rows[held_out], settings, item["candidate"], fold)
    message = f"{item['candidate']}, fold {fold + 1} of {folds}: macro-F1 {score['macro_f1']:.3f}"
    progress.report(STEP, message)
    return dict(score)


def choose(
    dataset: Path, settings: SelectSettings, train: TrainSettings, scores: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Pick a candidate by the one-standard-error rule.

    Args:
        dataset: the dataset folder.
        settings: the same that `plan` got.
        train: the same that `plan` got.
        scores: of all planned trainings, in any order; none when nothing was compared.

    Returns:
        The chosen name and settings, all candidates with their scores, the threshold of the rule, folds, texts and
        classes with fewer texts than folds.

    Raises:
        SlipwayError: a score is missing.
    """
    candidates = candidates_of(settings, train)
    if len(candidates) == 1:
        only = candidates[0]
        return {"compared": False, "chosen": only.name, "choice": only.changes, "candidates": [], "few": []}
    summaries = []
    for candidate in candidates:
        own = [cast(FoldScore, score) for score in scores if score.get("candidate") == candidate.name]
        if len(own) != settings.folds:
            raise SlipwayError(f"candidate {candidate.name!r} has {len(own)} scores of {settings.folds}; run it again")
        summaries.append(summarise(candidate.name, candidate.changes, own))
    picked = one_standard_error(summaries)
    data = TextDataset(dataset)
    label_ids = data.label_ids("train")
    rows = draw(label_ids, settings.texts, settings.seed)
    sizes = np.bincount(label_ids[rows], minlength=len(data.labels))
    return {
        "compared": True,
        "chosen": summaries[picked["chosen"]]["name"],
        "choice": summaries[picked["chosen"]]["changes"],
        "best": summaries[picked["best"]]["name"],
        "threshold": picked["threshold"],
        "candidates": summaries,
        "folds": settings.folds,
        "texts": len(rows),
        "few": [label for label, size in zip(data.labels, sizes, strict=True) if size < settings.folds],
    }
