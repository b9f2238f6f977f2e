"""Plan, a task of cross-validation, and the choice, on the tiny encoder."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from slipway.components.artifacts.dataset import SPLITS, TextDataset, write_dataset
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.learning.settings import TrainSettings
from slipway.components.select_model import step
from slipway.components.select_model.choice import unpacked
from slipway.components.select_model.folds import Indices
from slipway.components.select_model.result import FoldScore
from slipway.components.select_model.settings import SelectSettings
from slipway.components.select_model.task import CrossValidationTask


@pytest.fixture
def train(tiny_encoder: Path) -> TrainSettings:
    return TrainSettings(encoder=str(tiny_encoder), max_length=32, batch_size=4, learning_rate=2e-3, head_factor=1)


TWO = SelectSettings(candidates=[{"name": "whole"}, {"name": "half", "layers": 1, "epochs": 2}], folds=3, epochs=1)


def test_the_plan_has_a_task_for_each_candidate_with_all_its_folds(train: TrainSettings) -> None:
    tasks = step.plan(TWO, train, "s3://b/runs")
    assert [[candidate.name for candidate in task.candidates] for task in tasks] == [["whole"], ["half"]]
    assert {(task.folds, task.seed, task.record) for task in tasks} == {(3, 13, "s3://b/runs")}
    first, last = (TrainSettings.model_validate(task.candidates[0].train) for task in tasks)
    assert (first.epochs, last.epochs) == (1, 2), "a candidate's own epochs go before select.epochs"
    assert (first.processes, first.accumulation) == (1, 2), "as many texts in an update as in training"


def test_the_number_of_tasks_has_a_limit_and_a_task_says_only_what_it_needs(train: TrainSettings) -> None:
    seeds: list[dict[str, Any]] = [
        {"name": f"rate {number}", "learning_rate": number * 1e-4} for number in range(1, 21)
    ]
    tasks = step.plan(SelectSettings(candidates=seeds), train)
    assert len(tasks) == step.TASKS
    names = sorted(candidate.name for task in tasks for candidate in task.candidates)
    assert names == sorted(candidate["name"] for candidate in seeds)
    assert max(len(task.model_dump_json()) for task in tasks) < 1500


def test_a_candidate_s_task_is_the_same_beside_others(train: TrainSettings) -> None:
    alone, more = ([{"layers": 1}, {"layers": 2}], [{"layers": 1}, {"layers": 2}, {"max_length": 16}])
    few, many = (step.plan(SelectSettings(candidates=candidates), train) for candidates in (alone, more))
    assert few == many[:2], "or the cache would not know it again"


def test_other_weights_are_another_task(train: TrainSettings, tiny_encoder: Path, tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, encoder)
    own = train.model_copy(update={"encoder": str(encoder)})
    before = step.plan(TWO, own)
    (encoder / "model.safetensors").write_bytes(b"other weights")
    assert step.plan(TWO, own) != before


@pytest.mark.parametrize("candidates", [[], [{"layers": 1}]])
def test_a_single_candidate_needs_no_training_and_a_loop_has_an_item(
    candidates: list[dict[str, int]], train: TrainSettings
) -> None:
    settings = SelectSettings(candidates=candidates)
    (task,) = step.plan(settings, train)
    assert step.cross_validate(Path("nowhere"), task) == []
    result = step.choose(Path("nowhere"), settings, train, [])
    assert (result.compared, result.choice) == (False, candidates[0] if candidates else {})


def test_a_fold_is_scored_on_texts_that_were_held_out(train: TrainSettings, small_dataset: TextDataset) -> None:
    settings = TWO.model_copy(update={"epochs": 10, "texts": 90})
    first, second = step.plan(settings, train)
    scores = step.cross_validate(small_dataset.folder, first)
    both = CrossValidationTask.model_validate(  # kfp makes floats of whole numbers
        first.model_dump() | {"candidates": [*second.candidates, *first.candidates], "folds": 3.0}
    )
    again = step.cross_validate(small_dataset.folder, both)[3:]
    assert [(score.candidate, score.fold) for score in scores] == [("whole", fold) for fold in range(3)]
    assert scores[0].macro_f1 > 0.7
    assert [score.macro_f1 for score in scores] == [score.macro_f1 for score in again], "whatever came before"
    assert 10 * 60 * 4 < scores[0].tokens < 10 * 60 * 32
    assert scores[0].parameters > 1000
    answers = [unpacked(score.right) for score in scores]
    assert [len(right) for right in answers] == [30] * 3
    assert sum(answers[0]) == round(30 * scores[0].accuracy)
    assert min(score.tfidf or 0 for score in scores) > 0.8
    assert all(score.linear_probe is not None for score in scores)


@pytest.mark.parametrize(("texts", "used"), [(30, 45), (60, 60), (0, 120)])
def test_many_classes_are_judged_on_more_texts(
    texts: int, used: int, train: TrainSettings, small_dataset: TextDataset
) -> None:
    settings = TWO.model_copy(update={"texts": texts, "class_texts": 15})
    assert step.plan(settings, train)[0].class_texts == 15
    blank = FoldScore(candidate="", fold=0, macro_f1=0.5, accuracy=0.5, seconds=1, parameters=1, tokens=1)
    scores = [
        blank.model_copy(update={"candidate": name, "fold": fold}) for name in ("whole", "half") for fold in range(3)
    ]
    result = step.choose(small_dataset.folder, settings, train, scores)
    assert (result.texts, result.least_texts) == (used, used // 3)


def test_too_few_texts_for_the_folds_are_refused(train: TrainSettings, small_dataset: TextDataset) -> None:
    task = step.plan(TWO.model_copy(update={"folds": 10, "texts": 15, "class_texts": 0}), train)[0]
    with pytest.raises(BadInput, match="15 training texts are too few for 10 folds; set select.folds to less"):
        step.cross_validate(small_dataset.folder, task)


def test_groups_of_the_dataset_are_kept_in_one_fold(
    train: TrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = list(range(60))
    rows = [f"text {number}" for number in numbers], [number % 2 for number in numbers]
    groups = [number // 5 for number in numbers]
    data = write_dataset(tmp_path, dict.fromkeys(SPLITS, rows), ["a", "b"], {}, groups={"train": groups})
    parts: list[set[int]] = []

    def noted(_data: TextDataset, _rows: Indices, held_out: Indices, *_others: object) -> FoldScore:
        parts.append({groups[row] for row in held_out})
        return FoldScore(candidate="", fold=0, macro_f1=0.5, accuracy=0.5, seconds=1, parameters=1, tokens=1)

    monkeypatch.setattr("slipway.components.select_model.fold_training.train_and_score", noted)
    step.cross_validate(data.folder, step.plan(TWO.model_copy(update={"texts": 45, "class_texts": 0}), train)[0])
    assert sorted(group for part in parts for group in part) == list(range(12))
    assert data.groups("test") is None


def test_a_missing_score_is_no_choice(train: TrainSettings, small_dataset: TextDataset) -> None:
    with pytest.raises(SlipwayError, match="candidate 'whole' has 0 scores of 3"):
        step.choose(small_dataset.folder, TWO, train, [])
