"""Confidence intervals of scores and of their difference between two models, for the gate and the report.

The method is a paired, stratified bootstrap with percentile intervals (Efron and Tibshirani 1993, ch. 13). It is
stratified: resamples keep the number of texts of each class, so that no class vanishes from macro-F1. It is paired:
a text is drawn with the predictions of both models, so that texts which are hard for both do not widen the interval of
the difference.

When the two models differ on few texts, the interval of a bootstrap is too narrow; when they differ on none, its width
is zero. So half a text is added on which only the first model is wrong, and half a text on which only the second is
wrong, as in Agresti and Min (2005, Simple improved confidence intervals for comparing matched proportions).
"""

from dataclasses import dataclass

import numpy as np

from slipway.components.learning.scores import Floats, Indices, f1_mean

PSEUDO_TEXTS = 0.5
"""Texts that are added for each model, on which only this model is wrong; spread over the classes by their size."""


@dataclass(frozen=True)
class Interval:
    """The value on the test split, and the ends of its confidence interval."""

    value: float
    """On the split."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Histogram:
    """Counts of values between neighbouring edges. There is one edge more than counts."""

    counts: list[int]
    """Number of values between each edge and the next."""
    edges: list[float]
    """Edges, ascending."""


class Resamples:
    """The predictions of two models on resamples of a split, as counts for each class.

    Args:
        truth: true classes, shape (texts,).
        first: predicted classes of the first model, shape (texts,).
        second: predicted classes of the second model, shape (texts,).
        classes: number of classes.
        samples: number of resamples.
        seed: of the resamples.
    """

    def __init__(self, truth: Indices, first: Indices, second: Indices, classes: int, samples: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self._support = np.bincount(truth, minlength=classes)
        self._right = np.zeros((2, samples, classes), dtype=np.int64)
        predicted = np.zeros((2, classes + 1, samples), dtype=np.int64)
        for label in np.flatnonzero(self._support):
            of_class = truth == label
            pairs, counts = np.unique(np.stack([first[of_class], second[of_class]], axis=1), axis=0, return_counts=True)
            # The pseudo-texts: one model is right, and the other one predicts `classes`, which is always wrong.
            pairs = np.concatenate([pairs, [[label, classes], [classes, label]]])
            pseudo = PSEUDO_TEXTS * self._support[label] / len(truth)
            weights = np.concatenate([counts, [pseudo, pseudo]])
            # Drawing texts with replacement, and counting them by their pair of predictions, is a multinomial draw.
            draws = generator.multinomial(self._support[label], weights / weights.sum(), size=samples)
            for model, predictions in enumerate(pairs.T):
                self._right[model, :, label] = draws[:, predictions == label].sum(axis=1)
                np.add.at(predicted[model], predictions, draws.T)
        self._answered = predicted[:, :classes].transpose(0, 2, 1)

    def scores(self, name: str) -> Floats:
        """The score `macro_f1` or `accuracy` of the two models on each resample, shape (2, samples)."""
        if name == "accuracy":
            return np.asarray(self._right.sum(axis=-1) / max(self._support.sum(), 1))
        return f1_mean(self._right, self._support, self._answered)

    def differences(self, name: str) -> Floats:
        """The score of the first model minus that of the second one on each resample, shape (samples,)."""
        first, second = self.scores(name)
        return np.asarray(first - second)


def interval(value: float, resampled: Floats, confidence: float) -> Interval:
    """The two-sided percentile interval of a score.

    Args:
        value: the score on the split itself.
        resampled: the score on each resample, shape (samples,).
        confidence: such as 0.95.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def histogram(resampled: Floats, bins: int = 41) -> Histogram:
    """The histogram of the score on the resamples, for a figure."""
    counts, edges = np.histogram(resampled, bins=bins)
    return Histogram(counts.tolist(), edges.tolist())
