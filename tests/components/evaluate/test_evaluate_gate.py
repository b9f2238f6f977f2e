"""Each check of the gate, at its limit and beyond, and what it says."""

import dataclasses

import numpy as np
import pytest

from slipway.components.evaluate import gate
from slipway.components.evaluate.result import BestSoFar, Membership
from slipway.components.evaluate.settings import EvaluateSettings
from slipway.components.learning.bootstrap import Interval, Resamples, interval
from slipway.components.learning.scores import ClassScore, Floats, Scores, confusion_matrix, macro_f1
from tests.components.present import present

SETTINGS = EvaluateSettings(
    min_macro_f1=0.75, max_drop=0.05, min_class_recall=0.4, max_calibration_error=0.15, max_typo_drop=0.1
)


def scores(macro_f1: float = 0.9, recall: float = 0.9, error: float = 0.05) -> Scores:
    classes = [ClassScore("billing", 1, 0.95, 0.97, 20), ClassScore("praise", 1, recall, 0.9, 10)]
    return Scores(0.9, macro_f1, error, classes, [], [])


def best(drop: float | None) -> BestSoFar:
    return BestSoFar(version="2", recorded=0.9, same_data=True, macro_f1=0.9, drop=drop)


@pytest.mark.parametrize(("value", "passed"), [(0.75, True), (0.749, False)])
def test_every_version_must_reach_the_floor(value: float, passed: bool) -> None:
    check = gate.quality(scores(macro_f1=value), SETTINGS)
    assert (check.passed, check.value, check.limit) == (passed, value, 0.75)


@pytest.mark.parametrize(("low", "passed"), [(-0.05, True), (-0.051, False), (0.01, True)])
def test_the_lower_end_of_the_difference_decides(low: float, passed: bool) -> None:
    check = gate.not_worse(Interval(0.02, low, 0.06), 400, "3", SETTINGS)
    assert check.passed is passed
    assert f"a drop of more than 0.050 is {'ruled out' if passed else 'not ruled out'}" in check.words
    assert "+0.020 from champion 3 (90% interval" in check.words


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (Interval(0.0, -0.1, 0.1), "not ruled out by 400 test texts; about 1,600 would do it for this difference"),
        (Interval(-0.05, -0.1, 0.0), "is not ruled out"),
        (Interval(-0.2, -0.3, -0.1), "is not ruled out"),
    ],
)
def test_a_test_split_that_is_too_small_is_told_and_a_loss_beyond_the_margin_is_not_taken_for_one(
    found: Interval, told: str
) -> None:
    assert gate.not_worse(found, 400, "3", SETTINGS).words.endswith(told)


@pytest.mark.parametrize(
    ("worse", "max_drop", "least", "most"),
    [(0.02, EvaluateSettings().max_drop, 0, 0.13), (0.02, 0.05, 0.9, 1), (0, EvaluateSettings().max_drop, 0.8, 1)],
)  # 0.13: 5 %, and three standard errors of 60 models
def test_two_thousand_texts_show_a_loss_of_two_points(worse: float, max_drop: float, least: float, most: float) -> None:
    """Models that differ from the champion on a tenth of the texts, at an accuracy of 0.88."""
    settings = EvaluateSettings(max_drop=max_drop)
    generator, truth, passed = np.random.default_rng(1), np.arange(2000) % 5, 0
    for seed in range(60):
        right = generator.random(2000) < 0.88
        stays = generator.random(2000) >= np.where(right, (0.05 + worse) / 0.88, 0.05 / 0.12)
        one, other = (np.where(hit, truth, (truth + 1) % 5) for hit in (right == stays, right))
        drawn = Resamples(truth, one, other, 5, 200, seed).differences("macro_f1")
        value, reference = (float(macro_f1(confusion_matrix(truth, model, 5))) for model in (one, other))
        difference = interval(value - reference, drawn, settings.confidence)
        passed += gate.not_worse(difference, 2000, "3", settings).passed
    assert least <= passed / 60 <= most


@pytest.mark.parametrize(
    ("drop", "passed", "told"),
    [
        (0.05, True, "macro-F1 is 0.050 below that of version 2, the best so far: the drop that has added up since is "
         "within 0.050"),
        (0.051, False, "macro-F1 is 0.051 below that of version 2, the best so far: the drop that has added up since "
         "is more than 0.050"),
        (-0.01, True, "macro-F1 is 0.010 above that of version 2, the best so far: the drop that has added up since "
         "is within 0.050"),
    ],
)  # fmt: skip
def test_losses_since_the_best_version_must_not_add_up(drop: float, passed: bool, told: str) -> None:
    check = present(gate.near_best(best(drop), SETTINGS))
    assert (check.value, check.limit, check.passed, check.words) == (-drop, -0.05, passed, told)
    assert gate.near_best(best(None), SETTINGS) is None


@pytest.mark.parametrize(("right", "passed"), [(9, True), (3, False)])
def test_a_class_that_is_surely_recognised_too_seldom_is_named(right: int, passed: bool) -> None:
    classes = [ClassScore("billing", 1, 0.95, 0.97, 20), ClassScore("praise", 1, right / 30, 0.5, 30)]
    check = present(gate.class_recall(dataclasses.replace(scores(), classes=classes), SETTINGS))
    assert check.passed is passed
    assert f"praise ({right / 30:.3f} on 30 texts)" in check.words


@pytest.mark.parametrize(
    ("classes", "texts", "recall", "floor", "most"),
    [
        (77, 2, 0.8, 0.3, 0.0),  # of these a point estimate refused 96 %
        (77, 2, 0.8, 0.5, 0.0),
        (77, 2, 0.5, 0.5, 0.05),
        (5, 200, 0.5, 0.5, 0.08),  # 5 % and three standard errors of 300 models
        (77, 30, 0.3, 0.3, 0.08),
    ],
)
def test_a_model_whose_classes_all_reach_the_floor_is_refused_seldom(
    classes: int, texts: int, recall: float, floor: float, most: float
) -> None:
    assert refused(np.full(classes, recall), texts, floor) <= most


@pytest.mark.parametrize(("others", "least"), [(2, 0.95), (20, 0.9), (76, 0.85)])
def test_a_class_that_fails_on_fifty_texts_is_refused(others: int, least: float) -> None:
    floor = EvaluateSettings().min_class_recall
    assert refused(np.array([0.2, *[0.9] * others]), 50, floor) >= least


def refused(recalls: Floats, texts: int, floor: float, models: int = 300) -> float:
    """The share of simulated models that the check of recall refuses, each class with as many test texts."""
    settings = EvaluateSettings(min_class_recall=floor)
    right = np.random.default_rng(3).binomial(texts, recalls, (models, len(recalls)))
    verdicts = []
    for row in right / texts:
        classes = [ClassScore(str(index), 1, recall, 1, texts) for index, recall in enumerate(row)]
        verdicts.append(present(gate.class_recall(dataclasses.replace(scores(), classes=classes), settings)).passed)
    return 1 - float(np.mean(verdicts))


def test_many_failing_classes_are_counted_and_some_are_named() -> None:
    classes = [ClassScore(f"class {index}", 0, 0.0, 0, 30) for index in range(9)]
    check = present(gate.class_recall(dataclasses.replace(scores(), classes=classes), SETTINGS))
    assert check.words.startswith("the recall of 9 of 9 classes is surely below 0.400: class 0 (0.000 on 30 texts), ")
    assert check.words.endswith("class 4 (0.000 on 30 texts) and 4 more")


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
            gate.quality(scores(), SETTINGS),
            None,
            gate.calibration(scores(error=0.5), SETTINGS),
            gate.typos(0, SETTINGS),
        ]
    )
    assert verdict.passed is False
    assert verdict.reasons[0].startswith("the expected calibration error 0.500 is above 0.150; ")
    assert [check.passed for check in verdict.checks] == [False, True, True]


def test_all_checks_passed_lets_pass() -> None:
    assert gate.verdict([gate.quality(scores(), SETTINGS), gate.typos(0, SETTINGS)]).passed is True


def test_each_check_says_its_value_and_its_limit() -> None:
    members = Membership(0.7, 0.1, 0.02, 100, 100)
    settings = SETTINGS.model_copy(update={"max_membership_auc": 0.6, "typo_rate": 0.2})
    checks = [
        gate.quality(scores(macro_f1=0.7), settings),
        gate.not_worse(Interval(0.02, -0.06, 0.1), 700, "3", settings),
        gate.near_best(best(0.06), settings),
        gate.class_recall(scores(recall=0.3), settings),
        gate.calibration(
            dataclasses.replace(scores(error=0.2), calibration_error_by_chance=0.03, calibration_error_unscaled=0.25),
            settings,
        ),
        gate.typos(0.11, settings),
        gate.membership(members, settings),
        gate.identical("3"),
    ]
    told = {check.name: (check.value, check.limit, check.passed, check.words) for check in checks if check}
    assert told == {
        "macro-F1": (0.7, 0.75, False, "macro-F1 0.700 is below the floor 0.750"),
        "macro-F1 against the champion": (
            -0.06,
            -0.05,
            False,
            "macro-F1 differs by +0.020 from champion 3 (90% interval -0.060 to +0.100); a drop of more than 0.050 is "
            "not ruled out by 700 test texts; about 914 would do it for this difference",
        ),
        "macro-F1 against the best so far": (
            -0.06,
            -0.05,
            False,
            "macro-F1 is 0.060 below that of version 2, the best so far: the drop that has added up since is more than "
            "0.050",
        ),
        "lowest recall of a class": (
            pytest.approx(0.652, abs=0.001),
            0.4,
            True,
            "no class has a recall that is surely below 0.400; praise (0.300 on 10 texts) may have up to 0.652 (95% "
            "confidence over 2 classes)",
        ),
        "calibration error": (
            0.2,
            0.15,
            False,
            "the expected calibration error 0.200 is above 0.150; by chance alone a calibrated model would have 0.030, "
            "and without its temperature this one has 0.250",
        ),
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
