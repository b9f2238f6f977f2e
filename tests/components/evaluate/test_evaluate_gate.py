"""Each check of the gate, at its limit and beyond, and what it says."""

import dataclasses

import pytest

from components.evaluate import gate
from components.evaluate.bootstrap import Interval
from components.evaluate.scores import ClassScore, Scores
from components.evaluate.settings import EvaluateSettings

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
    assert verdict["passed"] is False
    assert verdict["reasons"][0] == "the expected calibration error 0.500 is above 0.150"
    assert [check["passed"] for check in verdict["checks"]] == [False, True, True]


def test_all_checks_passed_lets_pass() -> None:
    assert gate.verdict([gate.quality(scores(), "first", SETTINGS), gate.typos(0, SETTINGS)])["passed"] is True
