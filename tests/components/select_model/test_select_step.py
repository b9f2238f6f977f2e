"""Plan, one training of cross-validation, and the choice, on the tiny encoder."""

from pathlib import Path

import pytest

from components.dataset import TextDataset
from components.errors import BadInput, SlipwayError
from components.select_model import step
from components.select_model.settings import SelectSettings
from components.train.settings import TrainSettings


@pytest.fixture
def train(tiny_encoder: Path) -> TrainSettings:
    return TrainSettings(encoder=str(tiny_encoder), max_length=32, batch_size=4, learning_rate=2e-3, head_factor=1)


TWO = SelectSettings(candidates=[{"name": "whole"}, {"name": "half", "layers": 1, "epochs": 2}], folds=3, epochs=1)


def test_the_plan_has_a_training_for_each_candidate_and_fold(train: TrainSettings) -> None:
    items = step.plan(TWO, train)
    assert [(item["candidate"], item["fold"]) for item in items] == [
        (name, fold) for name in ("whole", "half") for fold in range(3)
    ]
    first, last = items[0]["train"], items[-1]["train"]
    assert (first["epochs"], last["epochs"]) == (1, 2), "a candidate's own epochs go before select.epochs"
    assert (first["processes"], first["accumulation"]) == (1, 2), "as many texts in an update as in training"


@pytest.mark.parametrize("candidates", [[], [{"layers": 1}]])
def test_a_single_candidate_needs_no_training(candidates: list[dict[str, int]], train: TrainSettings) -> None:
    settings = SelectSettings(candidates=candidates)
    assert step.plan(settings, train) == []
    result = step.choose(Path("nowhere"), settings, train, [])
    assert (result["compared"], result["choice"]) == (False, candidates[0] if candidates else {})


def test_an_encoder_that_cannot_be_had_is_refused_before_any_training(train: TrainSettings) -> None:
    settings = SelectSettings(candidates=[{}, {"encoder": "no/such-encoder"}])
    with pytest.raises(BadInput, match="'no/such-encoder' cannot be loaded"):
        step.plan(settings, train)


def test_a_fold_is_scored_on_texts_that_were_held_out(train: TrainSettings, small_dataset: TextDataset) -> None:
    settings = TWO.model_copy(update={"epochs": 10, "texts": 90})
    item = step.plan(settings, train)[0]
    score = step.cross_validate(small_dataset.folder, item)
    again = step.cross_validate(small_dataset.folder, item | {"fold": 0.0, "folds": 3.0})
    assert score["macro_f1"] > 0.7
    assert score["macro_f1"] == again["macro_f1"]
    assert 10 * 60 * 4 < score["tokens"] < 10 * 60 * 32
    assert score["parameters"] > 1000


def test_too_few_texts_for_the_folds_are_refused(train: TrainSettings, small_dataset: TextDataset) -> None:
    item = step.plan(TWO.model_copy(update={"folds": 10, "texts": 15}), train)[0]
    with pytest.raises(BadInput, match="15 training texts are too few for 10 folds; set select.folds to less"):
        step.cross_validate(small_dataset.folder, item)


def test_a_missing_score_is_no_choice(train: TrainSettings, small_dataset: TextDataset) -> None:
    with pytest.raises(SlipwayError, match="candidate 'whole' has 0 scores of 3"):
        step.choose(small_dataset.folder, TWO, train, [])
