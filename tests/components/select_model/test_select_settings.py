"""The candidates that settings describe."""

from typing import Any

import pytest
from pydantic import ValidationError

from slipway.components.errors import BadInput
from slipway.components.learning.settings import TrainSettings
from slipway.components.select_model.settings import SelectSettings, candidates_of


def candidates(*items: dict[str, Any]) -> SelectSettings:
    return SelectSettings(candidates=list(items))


def test_a_candidate_changes_the_settings_of_train_and_has_a_name() -> None:
    named, unnamed = candidates_of(
        candidates({"name": "small", "layers": 3}, {"learning_rate": 1e-4, "layers": 2.0}), TrainSettings(epochs=7)
    )
    assert (named.name, named.changes, named.train) == ("small", {"layers": 3}, TrainSettings(epochs=7, layers=3))
    assert (unnamed.name, unnamed.changes["layers"]) == ("learning_rate=0.0001, layers=2", 2)


def test_without_candidates_the_settings_of_train_are_the_only_one() -> None:
    (only,) = candidates_of(candidates(), TrainSettings())
    assert (only.changes, only.train) == ({}, TrainSettings())


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"learning_rat": 1e-4}], "candidate 1: learning_rat is unknown; did you mean learning_rate"),
        ([{"layers": 2}, {"colour": "red"}], "candidate 2: colour is unknown; known: name, encoder, layers"),
        ([{"processes": 4}], "candidates cannot differ in processes; set train.processes for all of them"),
        ([{"privacy_epsilon": 0}], "candidates cannot differ in privacy_epsilon"),
        ([{"name": "a", "layers": 2}, {"name": "a", "layers": 3}], "different names, but there are several a"),
    ],
    ids=["near key", "unknown key", "key of the run", "privacy", "same name"],
)
def test_candidates_that_make_no_sense_are_refused_at_once(items: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        candidates(*items)


def test_a_value_out_of_bounds_is_named() -> None:
    with pytest.raises(BadInput, match=r"candidate 'hot' cannot be used \(learning_rate=50.*select\.candidates"):
        candidates_of(candidates({"name": "hot", "learning_rate": 50}), TrainSettings())


def test_equal_candidates_are_refused() -> None:
    twins = candidates({"name": "one"}, {"name": "two", "learning_rate": TrainSettings().learning_rate})
    with pytest.raises(BadInput, match="candidates 'one' and 'two' are the same"):
        candidates_of(twins, TrainSettings())


def test_the_default_candidates_can_be_used() -> None:
    assert len(candidates_of(SelectSettings(), TrainSettings())) > 1


def test_a_comparison_before_a_private_training_is_refused() -> None:
    private = TrainSettings(privacy_epsilon=3)
    with pytest.raises(BadInput, match=r"train.privacy_epsilon=3, .* set select.candidates to \[\] or to one of them"):
        candidates_of(SelectSettings(), private)
    (only,) = candidates_of(candidates({"layers": 2, "privacy_gradient_norm": 0.5}), private)
    assert (only.train.privacy_epsilon, only.train.privacy_gradient_norm) == (3, 0.5)
