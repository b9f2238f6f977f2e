"""Entry points of the step `select_model`: the plan, a task of cross-validation, and the choice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.encoder import encoder_identity
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.learning.settings import TrainSettings
from slipway.components.select_model.choice import compared, one_standard_error, summarise
from slipway.components.select_model.folds import assign_folds, draw, texts_used
from slipway.components.select_model.result import FoldScore, SelectModelResult
from slipway.components.select_model.settings import Candidate, SelectSettings, candidates_of
from slipway.components.select_model.task import CrossValidationTask, PlannedCandidate
from slipway.components.step_runtime import progress

STEP = "select_model"
TASKS = 8
"""Most tasks of cross-validation."""


def plan(settings: SelectSettings, train: TrainSettings, record: str = "") -> list[CrossValidationTask]:
    """Plan the tasks of cross-validation: each has candidates, and everything that their trainings need.

    A task has nothing else, so that the cache finds it again when other candidates change. All folds of a candidate are
    in one task, and there are `TASKS` tasks at most, since each one adds 40 kB to the Workflow object of Kubeflow
    Pipelines, and takes 30 s more. When there is nothing to compare, there is one task without candidates, since
    Kubeflow Pipelines cannot collect the results of an empty loop.

    Args:
        settings: section `select`.
        train: section `train`, which the candidates change.
        record: URI below which pods keep the records of runs.

    Raises:
        BadInput: a candidate cannot be used, or there is no such encoder.
    """
    candidates = candidates_of(settings, train)
    compared = [
        PlannedCandidate(
            name=candidate.name,
            train=_for_folds(candidate, settings).model_dump(exclude_defaults=True),
            weights=encoder_identity(candidate.train.encoder),
        )
        for candidate in candidates
        if len(candidates) > 1
    ]
    tasks = max(1, min(TASKS, len(compared)))
    return [
        CrossValidationTask(
            folds=settings.folds,
            texts=settings.texts,
            class_texts=settings.class_texts,
            seed=settings.seed,
            candidates=compared[number::tasks],
            record=record,
        )
        for number in range(tasks)
    ]


def _for_folds(candidate: Candidate, settings: SelectSettings) -> TrainSettings:
    """The candidate's settings for one process. An update has as many texts as in the step train."""
    train = candidate.train
    changes: dict[str, Any] = {
        "processes": 1,
        "threads_per_process": 1,
        "accumulation": train.accumulation * train.processes,
    }
    if settings.epochs and "epochs" not in candidate.changes:
        changes["epochs"] = settings.epochs
    return train.model_copy(update=changes)


def cross_validate(dataset: Path, task: CrossValidationTask) -> list[FoldScore]:
    """Make the trainings of one planned task, and score each on the fold that was held out.

    Args:
        dataset: the dataset folder; only its training split is used.
        task: one of the list that `plan` returned.

    Raises:
        BadInput: there are too few texts or groups, or an encoder cannot be used.
    """
    if not task.candidates:
        return []
    from slipway.components.select_model.fold_training import train_and_score

    folds = task.folds
    data = TextDataset(dataset)
    label_ids = data.label_ids("train")
    rows = draw(label_ids, texts_used(task.texts, task.class_texts, len(data.labels)), task.seed)
    if len(rows) < 2 * folds:
        raise BadInput(f"{len(rows)} training texts are too few for {folds} folds; set select.folds to less")
    groups = data.groups("train")
    assigned = assign_folds(label_ids[rows], folds, task.seed, None if groups is None else groups[rows])
    scores: list[FoldScore] = []
    for candidate in task.candidates:
        settings = TrainSettings.model_validate(candidate.train)
        for fold in range(folds):
            held_out = assigned == fold
            score = train_and_score(data, rows[~held_out], rows[held_out], settings, candidate.name, fold)
            scores.append(score)
            message = f"{candidate.name}, fold {fold + 1} of {folds}: macro-F1 {score.macro_f1:.3f}"
            progress.report(STEP, message)
            progress.event(STEP, "part")
    return scores


def choose(
    dataset: Path, settings: SelectSettings, train: TrainSettings, scores: Sequence[FoldScore]
) -> SelectModelResult:
    """Choose a candidate by the one-standard-error rule.

    Args:
        dataset: the dataset folder.
        settings: the same as for `plan`.
        train: the same as for `plan`.
        scores: of all planned trainings, in any order; empty when nothing is compared.

    Raises:
        SlipwayError: a score is missing.
    """
    candidates = candidates_of(settings, train)
    if len(candidates) == 1:
        only = candidates[0]
        return SelectModelResult(compared=False, chosen=only.name, choice=only.changes, candidates=[], few=[])
    summaries, by_candidate = [], []
    for candidate in candidates:
        candidate_scores = [score for score in scores if score.candidate == candidate.name]
        if len(candidate_scores) != settings.folds:
            raise SlipwayError(
                f"candidate {candidate.name!r} has {len(candidate_scores)} scores of {settings.folds}; run it again"
            )
        summaries.append(summarise(candidate.name, candidate.changes, candidate_scores))
        by_candidate.append(candidate_scores)
    summaries = compared(summaries, by_candidate)
    choice = one_standard_error(summaries)
    data = TextDataset(dataset)
    label_ids = data.label_ids("train")
    rows = draw(label_ids, texts_used(settings.texts, settings.class_texts, len(data.labels)), settings.seed)
    sizes = np.bincount(label_ids[rows], minlength=len(data.labels))
    return SelectModelResult(
        compared=True,
        chosen=summaries[choice.chosen].name,
        choice=summaries[choice.chosen].changes,
        best=summaries[choice.best].name,
        candidates=summaries,
        folds=settings.folds,
        texts=len(rows),
        few=[label for label, size in zip(data.labels, sizes, strict=True) if size < settings.folds],
        least_texts=int(sizes.min()),
    )
