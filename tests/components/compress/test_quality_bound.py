"""The bound on what a variant keeps of the teacher's quality."""

import numpy as np
import pytest

from slipway.components.compress.quality import kept


def answers(texts: int, only_teacher_right: int, only_variant_right: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two classes in turn; the teacher errs on the texts that only the variant gets right, and the other way round."""
    truth = np.arange(texts) % 2
    variant, teacher = truth.copy(), truth.copy()
    variant[:only_teacher_right] ^= 1
    teacher[only_teacher_right : only_teacher_right + only_variant_right] ^= 1
    return truth, variant, teacher


def test_the_share_is_a_ratio_of_scores_and_the_bound_lies_below() -> None:
    found = kept(*answers(1000, 20, 0), classes=2, confidence=0.95)
    assert found.share == pytest.approx(0.98)
    assert 0.96 < found.at_least < 0.98


def test_more_texts_make_the_bound_tighter() -> None:
    few, many = (kept(*answers(texts, texts // 50, texts // 50), 2, 0.95) for texts in (200, 5000))
    assert few.share == many.share == pytest.approx(1.0)
    assert few.at_least < many.at_least < 1


def test_more_confidence_makes_the_bound_lower() -> None:
    data = answers(500, 10, 10)
    assert kept(*data, 2, 0.99).at_least < kept(*data, 2, 0.8).at_least


def test_equal_answers_to_a_handful_of_texts_prove_little() -> None:
    """Without the added halves of a text every resample would say that nothing is lost."""
    assert kept(*answers(30, 0, 0), 2, 0.95).at_least < 0.98
    assert kept(*answers(3000, 0, 0), 2, 0.95).at_least > 0.999


def test_texts_that_are_hard_for_both_do_not_widen_the_interval() -> None:
    truth, variant, teacher = answers(500, 5, 5)
    both = np.arange(500) >= 400
    hard = kept(truth, np.where(both, 1 - truth, variant), np.where(both, 1 - truth, teacher), 2, 0.95)
    assert hard.at_least > 0.97


def test_the_bound_is_below_the_true_share_as_often_as_promised() -> None:
    """Variants that truly keep 95 of 96 right answers: the bound is above that in at most about 5 of 100 samples."""
    generator = np.random.default_rng(0)
    above = 0
    for seed in range(200):
        truth = generator.integers(0, 2, 300)
        teacher = np.where(generator.random(300) < 0.96, truth, 1 - truth)
        variant = np.where(generator.random(300) < 0.03, 1 - teacher, teacher)
        true_share = (0.96 * 0.97 + 0.04 * 0.03) / 0.96
        above += kept(truth, variant, teacher, 2, 0.95, seed).at_least > true_share
    assert above <= 20
