"""Scores of predictions agree with their definitions."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from slipway.components.learning.scores import calibration, confusion_matrix, macro_f1, score

LABELS = ["billing", "delivery", "account"]


def test_scores_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 3, 200)
    predicted = np.where(generator.random(200) < 0.7, truth, generator.integers(0, 3, 200))
    scores = score(truth, predicted, np.full(200, 0.9), LABELS)
    assert scores.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert scores.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro"))
    expected = np.transpose(precision_recall_fscore_support(truth, predicted))
    found = [[item.precision, item.recall, item.f1, item.support] for item in scores.classes]
    assert np.allclose(found, expected)


def test_macro_f1_leaves_out_classes_without_texts() -> None:
    confusion = confusion_matrix(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 3)
    assert macro_f1(confusion) == 1


def test_an_unknown_label_is_wrong_and_no_class() -> None:
    scores = score(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 3]), np.ones(4), LABELS)
    assert scores.accuracy == 0.75
    assert scores.classes[2].recall == 0.5
    assert scores.classes[2].precision == 1
    assert scores.confusion[2] == [0, 0, 1, 1]
    assert len(scores.classes) == 3


def test_a_model_that_is_right_as_often_as_it_says_has_no_calibration_error() -> None:
    confidence = np.repeat([0.5, 0.75], 4)
    right = np.array([1, 0, 1, 0, 1, 1, 1, 0], dtype=bool)
    error, bins = calibration(confidence, right)
    assert error == pytest.approx(0)
    assert [(item.count, item.accuracy) for item in bins] == [(4, 0.5), (4, 0.75)]


def test_the_calibration_error_is_the_mean_gap_weighted_by_texts() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.6])
    right = np.array([True, False, False, True])
    error, _ = calibration(confidence, right)
    assert error == pytest.approx(3 / 4 * (0.9 - 1 / 3) + 1 / 4 * 0.4)


def test_certain_answers_fall_into_the_last_bin() -> None:
    _, bins = calibration(np.array([1.0, 0.0]), np.array([True, False]))
    assert [(round(item.low, 3), item.high) for item in bins][-1] == (0.933, 1.0)
    assert bins[0].low == 0
