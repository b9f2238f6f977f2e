"""How sure the scores are: paired, stratified bootstrap with percentile intervals (Efron and Tibshirani 1993, ch. 13).

Resamples keep the number of texts of each class, so that no class vanishes from macro-F1, and take both models'
answers to a text together, so that texts which are hard for both do not widen the interval of their difference.

Few texts on which the two differ would make the bootstrap too sure (none: certain), so one half of a text is added on
which only the first model is wrong and one half on which only the second is, as Agresti and Min (2005, Simple improved
confidence intervals for comparing matched proportions) do.
"""

from dataclasses import dataclass

import numpy as np

from slipway.components.learning.scores import Floats, Indices, f1_mean

PSEUDO_TEXTS = 0.5


@dataclass(frozen=True)
class Interval:
    """The value on the test split and the ends of its interval."""

    value: float
    """On the split."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Histogram:
    """How many values lie between each two neighbouring edges; there is one edge more than counts."""

    counts: list[int]
    """Values between two edges."""
    edges: list[float]
    """Edges, rising."""


class Resamples:
    """What two models did on resamples of a split: for each class its right answers, and how often it was answered.

    Args:
        truth: true classes, shape (texts,).
        first: one model's predictions, shape (texts,).
        second: the other's, shape (texts,).
        classes: number of classes.
        samples: number of resamples.
        seed: of the resamples.
    """

    def __init__(self, truth: Indices, first: Indices, second: Indices, classes: int, samples: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self._support = np.bincount(truth, minlength=classes)
        self._right = np.zeros((2, samples, classes), dtype=np.int64)
        answered = np.zeros((2, classes + 1, samples), dtype=np.int64)
        for row in np.flatnonzero(self._support):
            asked = truth == row
            pairs, counts = np.unique(np.stack([first[asked], second[asked]], axis=1), axis=0, return_counts=True)
            pairs = np.concatenate([pairs, [[row, classes], [classes, row]]])  # the last class is any wrong answer
            extra = PSEUDO_TEXTS * self._support[row] / len(truth)
            weights = np.concatenate([counts, [extra, extra]])
            # drawing texts with replacement and counting them by their pair of answers is a multinomial draw
            draws = generator.multinomial(self._support[row], weights / weights.sum(), size=samples)
            for model, answers in enumerate(pairs.T):
                self._right[model, :, row] = draws[:, answers == row].sum(axis=1)
                np.add.at(answered[model], answers, draws.T)
        self._answered = answered[:, :classes].transpose(0, 2, 1)

    def scores(self, name: str) -> Floats:
        """`macro_f1` or `accuracy` of the two models on each resample, shape (2, samples)."""
        if name == "accuracy":
            return np.asarray(self._right.sum(axis=-1) / max(self._support.sum(), 1))
        return f1_mean(self._right, self._support, self._answered)

    def differences(self, name: str) -> Floats:
        """First minus second on each resample, shape (samples,)."""
        first, second = self.scores(name)
        return np.asarray(first - second)


def interval(value: float, resampled: Floats, confidence: float) -> Interval:
    """Percentile interval, two-sided, around the value on the split."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def histogram(resampled: Floats, bins: int = 41) -> Histogram:
    """Counts and edges of the resampled values, for a picture."""
    counts, edges = np.histogram(resampled, bins=bins)
    return Histogram(counts.tolist(), edges.tolist())
