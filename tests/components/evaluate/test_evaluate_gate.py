"""Each check of the gate, at its limit and beyond, and what it says."""

import dataclasses

import pytest

from slipway.components.evaluate import gate
from slipway.components.evaluate.result import Membership
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.bootstrap import Interval
from slipway.components.learning.scores import ClassScore, Scores
from tests.components.present import present

SETTINGS = EvaluateSettings(
    min_macro_f1=0.75, max_drop=0.05, min_class_recall=0.4, max_calibration_error=0.15, max_typo_drop=0.1
)


def scores(macro_f1: float = 0.9, recall: float = 0.9, error: float = 0.05) -> Scores:
    classes = [ClassScore("billing", 1, 0.95, 0.97, 20), ClassScore("praise", 1, recall, 0.9, 10)]
    return Scores(0.9, macro_f1, error, classes, [], [])


@pytest.mark.parametrize(("value", "passed"), [(0.75, True), (0.749, False)])
def test_the_first_version_must_reach_the_floor(value: float, passed: bool) -> None:
    check = gate.quality(scores(macro_f1=value), "there is no champion", SETTINGS)
    assert (check.passed, check.value, check.limit) == (passed, value, 0.75)


@pytest.mark.parametrize(("low", "passed"), [(-0.05, True), (-0.051, False), (0.01, True)])
def test_the_lower_end_of_the_difference_decides(low: float, passed: bool) -> None:
    check = gate.not_worse(Interval(0.02, low, 0.06), "3", SETTINGS)
    assert check.passed is passed
    assert f"a drop of more than 0.050 is {'ruled out' if passed else 'not ruled out'}" in check.words
    assert "+0.020 from champion 3 (90% interval" in check.words


@pytest.mark.parametrize(("recall", "passed"), [(0.4, True), (0.3, False)])
def test_the_worst_class_is_named(recall: float, passed: bool) -> None:
    check = gate.class_recall(scores(recall=recall), SETTINGS)
    assert check is not None
    assert check.passed is passed
    assert "praise, has recall" in check.words


def test_a_class_without_test_texts_is_not_held_against_the_model() -> None:
    absent = dataclasses.replace(scores(), classes=[ClassScore("praise", 0, 0, 0, 0), ClassScore("b", 1, 1, 1, 5)])
    check = gate.class_recall(absent, SETTINGS)
    assert check is not None
    assert check.passed


@pytest.mark.parametrize(("error", "passed"), [(0.15, True), (0.16, False)])
def test_the_calibration_error_has_a_limit(error: float, passed: bool) -> None:
    check = gate.calibration(scores(error=error), SETTINGS)
    assert check is not None
    assert check.passed is passed


@pytest.mark.parametrize(("drop", "passed"), [(0.1, True), (0.11, False), (-0.01, True)])
def test_the_loss_to_typing_errors_has_a_limit(drop: float, passed: bool) -> None:
    check = gate.typos(drop, SETTINGS)
    assert check is not None
    assert check.passed is passed


def test_checks_can_be_switched_off() -> None:
    off = EvaluateSettings(min_class_recall=0, max_calibration_error=1, max_typo_drop=1)
    assert gate.class_recall(scores(), off) is None
    assert gate.calibration(scores(), off) is None
    assert gate.typos(0.5, off) is None


def test_one_failed_check_refuses_and_its_reason_comes_first() -> None:
    verdict = gate.verdict(
        [
            gate.quality(scores(), "first", SETTINGS),
            None,
            gate.calibration(scores(error=0.5), SETTINGS),
            gate.typos(0, SETTINGS),
        ]
    )
    assert verdict.passed is False
    assert verdict.reasons[0] == "the expected calibration error 0.500 is above 0.150"
    assert [check.passed for check in verdict.checks] == [False, True, True]


def test_all_checks_passed_lets_pass() -> None:
    assert gate.verdict([gate.quality(scores(), "first", SETTINGS), gate.typos(0, SETTINGS)]).passed is True


def test_each_check_says_its_value_and_its_limit() -> None:
    members = Membership(0.7, 0.1, 0.02, 100, 100)
    settings = SETTINGS.model_copy(update={"max_membership_auc": 0.6, "typo_rate": 0.2})
    checks = [
        gate.quality(scores(macro_f1=0.7), "there is no champion", settings),
        gate.not_worse(Interval(0.02, -0.06, 0.1), "3", settings),
        gate.class_recall(scores(recall=0.3), settings),
        gate.calibration(scores(error=0.2), settings),
        gate.typos(0.11, settings),
        gate.membership(members, settings),
        gate.identical("3"),
    ]
    told = {check.name: (check.value, check.limit, check.passed, check.words) for check in checks if check}
    assert told == {
        "macro-F1": (0.7, 0.75, False, "macro-F1 0.700 is below the floor 0.750 (there is no champion)"),
        "macro-F1 against the champion": (
            -0.06,
            -0.05,
            False,
            "macro-F1 differs by +0.020 from champion 3 (90% interval -0.060 to +0.100); a drop of more than 0.050 is "
            "not ruled out",
        ),
        "lowest recall of a class": (
            0.3,
            0.4,
            False,
            "the class recognised least, praise, has recall 0.300 on 10 texts, below 0.400",
        ),
        "calibration error": (0.2, 0.15, False, "the expected calibration error 0.200 is above 0.150"),
        "drop by typing errors": (
            0.11,
            0.1,
            False,
            "typing errors in 20% of the words lower macro-F1 by 0.110, more than 0.100",
        ),
        "recognition of training texts": (
            0.7,
            0.6,
            False,
            "training texts can be told from others by their loss with an area under the curve of 0.700, above 0.600",
        ),
        "identical to the champion": (
            1.0,
            1.0,
            True,
            "model, tokenizer, labels and data are those of champion 3, byte for byte",
        ),
    }
    verdict = gate.verdict(list(checks))
    words = present(checks[-1]).words
    assert verdict.model_dump(mode="json")["checks"][-1] == {
        "name": "identical to the champion", "value": 1.0, "limit": 1.0, "passed": True, "words": words,
    }  # fmt: skip


@pytest.mark.parametrize("classes", [[], [ClassScore("praise", 0, 0, 0, 0)]])
def test_without_a_text_of_any_class_recall_says_nothing(classes: list[ClassScore]) -> None:
    assert gate.class_recall(dataclasses.replace(scores(), classes=classes), SETTINGS) is None


@pytest.mark.parametrize(("limit", "checked"), [(0.99, True), (1.0, False)])
def test_a_limit_of_one_alone_switches_a_check_off(limit: float, checked: bool) -> None:
    settings = EvaluateSettings(max_calibration_error=limit, max_typo_drop=limit, max_membership_auc=limit)
    members = Membership(limit, 0.1, 0.02, 100, 100)
    made = (gate.calibration(scores(error=limit), settings), gate.typos(limit, settings))
    for check in (*made, gate.membership(members, settings)):
        assert (check is not None and check.passed) is checked
    assert gate.membership(None, settings) is None
