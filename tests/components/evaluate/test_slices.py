"""Parts of the test split on which a model fails are found, and small parts raise no false alarms."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from slipway.components.evaluate import gate, slices
from slipway.components.evaluate.predictions import Answers, Exam
from slipway.components.evaluate.result import Slice
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.scores import Floats
from tests.components.present import present

LABELS = ["billing", "delivery"]
SETTINGS = EvaluateSettings(bootstrap_samples=200)


def scored(accuracy: Floats, texts: Sequence[str], columns: Mapping[str, Sequence[str]], seed: int = 1) -> list[Slice]:
    """The slices of a model that is right on each text with a probability."""
    truth = np.arange(len(texts)) % 2
    hit = np.random.default_rng(seed).random(len(texts)) < accuracy
    answers = Answers(np.where(hit, truth, 1 - truth), np.full(len(texts), 0.9))
    return slices.scored(Exam(list(texts), list(texts), truth, LABELS), answers, columns, SETTINGS)


def test_a_part_on_which_the_model_fails_is_told_and_refused_where_asked() -> None:
    shop = ["a"] * 60 + ["b"] * 340
    found = scored(np.where(np.array(shop) == "a", 0.5, 0.95), ["a text"] * 400, {"shop": shop})
    assert [(item.by, item.name, item.texts) for item in found] == [("shop", "a", 60), ("shop", "b", 340)]
    worst = found[0]
    assert worst.accuracy.low < worst.accuracy.value < worst.accuracy.high < 0.7
    assert worst.macro_f1.low < worst.macro_f1.value < worst.macro_f1.high
    (sentence,) = slices.told(found)
    assert sentence.startswith("Texts whose shop is a are recognised less often: accuracy 0.")
    assert gate.slices(found, SETTINGS) is None
    for limit, passed in ((0.1, False), (0.5, True)):
        check = present(gate.slices(found, SETTINGS.model_copy(update={"max_slice_drop": limit})))
        assert (check.passed, check.value, check.limit) == (passed, worst.surely_worse_by, limit)
    assert gate.slices([], SETTINGS.model_copy(update={"max_slice_drop": 0.1})) is None


def test_parts_that_are_as_good_are_said_to_be_worse_seldom() -> None:
    shop = [str(number) for number in range(10)] * 20
    alarms = [any(item.surely_worse_by > 0 for item in scored(np.full(200, 0.8), ["a"] * 200, {"shop": shop}, seed))
              for seed in range(60)]  # fmt: skip
    assert np.mean(alarms) <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


def test_texts_are_told_apart_by_length_script_and_columns_with_enough_texts() -> None:
    texts = ["x" * (1 + number % 40) for number in range(160)] + ["привет!"] * 30
    columns = {"one value": ["a"] * 190, "rare": ["a"] * 180 + ["b"] * 10, "empty": [""] * 90 + ["full"] * 100}
    parts = {(by, name): len(rows) for by, name, rows in slices.parts_of(texts, columns)}
    lengths = [name for by, name in parts if by == "length"]
    assert lengths == ["1 to 7 characters", "8 to 17 characters", "18 to 29 characters", "30 to 40 characters"]
    assert sum(parts["length", name] for name in lengths) == 190
    assert {key: count for key, count in parts.items() if key[0] != "length"} == {
        ("script", "Latin"): 160,
        ("script", "Cyrillic"): 30,
        ("rare", "a"): 180,
        ("empty", "empty"): 90,
        ("empty", "full"): 100,
    }


def test_texts_of_one_length_are_no_slice() -> None:
    assert list(slices.parts_of(["same"] * 100, {})) == []


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Café 24!", "Latin"),
        ("किताब book", "Latin"),
        ("没有收到", "CJK"),
        ("12 !?", slices.NO_SCRIPT),
        ("", slices.NO_SCRIPT),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, script: str) -> None:
    assert slices.script_of(text) == script
