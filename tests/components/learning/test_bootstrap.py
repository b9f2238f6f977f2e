"""Intervals are as wide as they should be, and pairs of answers stay together."""

import tracemalloc

import numpy as np
import pytest

from slipway.components.learning.bootstrap import Histogram, Resamples, histogram, interval
from slipway.components.learning.scores import Indices, confusion_matrix, macro_f1


def answers(truth: Indices, right: float, generator: np.random.Generator) -> Indices:
    return np.where(generator.random(len(truth)) < right, truth, (truth + 1) % 3)


def resamples(truth: Indices, challenger: Indices, champion: Indices, samples: int = 1000, seed: int = 1) -> Resamples:
    return Resamples(truth, challenger, champion, 3, samples, seed)


def test_equal_answers_differ_by_half_a_text_each_way() -> None:
    truth = np.arange(60) % 3
    predicted = answers(truth, 0.8, np.random.default_rng(1))
    drawn = resamples(truth, predicted, predicted, samples=20_000)
    changed = 60 * drawn.differences("accuracy")
    assert changed.mean() == pytest.approx(0, abs=0.02)
    assert changed.std() == pytest.approx(1, abs=0.05)  # of half a text that one has wrong, and half of the other
    assert drawn.scores("accuracy")[0].std() > 0


@pytest.mark.parametrize("texts", [2, 4, 10])
def test_few_texts_rule_out_no_loss_that_is_there(texts: int) -> None:
    """A challenger 15 points worse on 4 classes: the lower end is above a loss of 5 points rarely."""
    generator, truth, passed = np.random.default_rng(5), np.repeat(np.arange(4), texts), 0
    for seed in range(200):
        one, other = (np.where(generator.random(len(truth)) < p, truth, (truth + 1) % 4) for p in (0.75, 0.9))
        drawn = Resamples(truth, one, other, 4, 400, seed).differences("macro_f1")
        passed += interval(0, drawn, 0.9).low >= -0.05
    assert passed <= 0.1 * 200


def test_many_classes_take_no_memory_for_pairs_that_do_not_occur() -> None:
    truth = np.arange(3000) % 500
    tracemalloc.start()
    Resamples(truth, truth, np.roll(truth, 1), 500, 2000, 1).differences("macro_f1")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 200 * 2**20


def test_the_resamples_are_those_of_drawing_texts_with_replacement_within_each_class() -> None:
    generator = np.random.default_rng(2)
    truth = np.repeat([0, 1, 2], [50, 30, 10])
    one, other = answers(truth, 0.8, generator), answers(truth, 0.7, generator)
    naive = []
    for _ in range(4000):
        rows = np.concatenate([generator.choice(np.flatnonzero(truth == c), (truth == c).sum()) for c in range(3)])
        naive.append(
            macro_f1(confusion_matrix(truth[rows], one[rows], 3))
            - macro_f1(confusion_matrix(truth[rows], other[rows], 3))
        )
    drawn = resamples(truth, one, other, samples=4000).differences("macro_f1")
    assert drawn.mean() == pytest.approx(np.mean(naive), abs=0.004)
    assert np.quantile(drawn, [0.05, 0.5, 0.95]) == pytest.approx(np.quantile(naive, [0.05, 0.5, 0.95]), abs=0.012)


def test_pairing_narrows_the_interval_of_models_that_fail_on_the_same_texts() -> None:
    truth = np.arange(300) % 3
    one = answers(truth, 0.7, np.random.default_rng(3))
    other = one.copy()
    other[:6] = truth[:6]
    paired = resamples(truth, one, other)
    separate = paired.scores("accuracy")[0] - resamples(truth, other, other, seed=2).scores("accuracy")[0]
    assert paired.differences("accuracy").std() < 0.5 * separate.std()


def test_nine_of_ten_intervals_with_confidence_90_hold_the_true_difference() -> None:
    """Accuracy 0.85 against 0.80; of 300 splits, 90 % plus or minus 3 standard errors (5 %) must hold 0.05."""
    generator = np.random.default_rng(4)
    truth, held = np.arange(240) % 3, 0
    for seed in range(300):
        drawn = resamples(truth, answers(truth, 0.85, generator), answers(truth, 0.80, generator), 400, seed)
        found = interval(0, drawn.differences("accuracy"), 0.9)
        held += found.low <= 0.05 <= found.high
    assert 0.85 <= held / 300 <= 0.95


def test_the_same_seed_gives_the_same_interval() -> None:
    truth = np.arange(90) % 3
    one, other = (answers(truth, right, np.random.default_rng(5)) for right in (0.8, 0.7))
    first, second, another = (resamples(truth, one, other, seed=seed).differences("macro_f1") for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != another).any()


def test_a_class_without_texts_is_no_obstacle() -> None:
    truth = np.arange(40) % 2
    assert np.median(resamples(truth, truth, truth).scores("macro_f1")) == 1


def test_a_single_text_is_right_or_wrong() -> None:
    one = np.array([0])
    assert set(resamples(one, one, one).scores("accuracy")[0]) == {0.0, 1.0}


def test_the_histogram_counts_every_resample() -> None:
    assert sum(histogram(np.zeros(50)).counts) == 50
    assert histogram(np.array([0.0, 0.1, 1.0]), bins=2) == Histogram(counts=[2, 1], edges=[0.0, 0.5, 1.0])
    assert len(histogram(np.zeros(50)).edges) == 42
