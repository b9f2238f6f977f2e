"""How sure the scores are: paired, stratified bootstrap with percentile intervals (Efron and Tibshirani 1993, ch. 13).

Resamples keep the number of texts of each class, so that no class vanishes from macro-F1, and take both models'
answers to a text together, so that texts which are hard for both do not widen the interval of their difference.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from components.evaluate.scores import Floats, Indices, accuracy, macro_f1

SCORES = {"macro_f1": macro_f1, "accuracy": accuracy}


@dataclass(frozen=True)
class Interval:
    """The value on the test split and the ends of its interval."""

    value: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """Plain JSON."""
        return asdict(self)


class Resamples:
    """Confusion matrices of both models on resamples of the test split.

    Args:
        truth: true classes, shape (texts,).
        challenger: the challenger's predictions, shape (texts,).
        champion: the champion's, shape (texts,).
        classes: number of classes.
        samples: number of resamples.
        confidence: of the intervals, two-sided.
        seed: of the resamples.
    """

    def __init__(
        self,
        truth: Indices,
        challenger: Indices,
        champion: Indices,
        classes: int,
        samples: int,
        confidence: float,
        seed: int,
    ) -> None:
        generator = np.random.default_rng(seed)
        self.confidence = confidence
        shape = (samples, classes, classes + 1)
        matrices = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for row in range(classes):
            pairs, counts = np.unique(
                np.stack([challenger[truth == row], champion[truth == row]], axis=1), axis=0, return_counts=True
            )
            if not len(pairs):
                continue
            # drawing texts with replacement and counting them by their pair of answers is a multinomial draw
            draws = generator.multinomial(counts.sum(), counts / counts.sum(), size=samples)
            for model, matrix in enumerate(matrices):
                matrix[:, row] = draws @ np.eye(classes + 1, dtype=np.int64)[pairs[:, model]]
        self._challenger, self._champion = matrices

    def scores(self, name: str) -> Floats:
        """The challenger's score (a key of `SCORES`) on each resample, shape (samples,)."""
        return SCORES[name](self._challenger)

    def differences(self, name: str) -> Floats:
        """Challenger minus champion on each resample, shape (samples,)."""
        return SCORES[name](self._challenger) - SCORES[name](self._champion)

    def interval(self, value: float, resampled: Floats) -> Interval:
        """Percentile interval around the value on the test split."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(resampled, [tail, 1 - tail])
        return Interval(value, float(low), float(high))


def histogram(resampled: Floats, bins: int = 41) -> dict[str, Any]:
    """Counts and edges of the resampled values, for a picture."""
    counts, edges = np.histogram(resampled, bins=bins)
    return {"counts": counts.tolist(), "edges": edges.tolist()}
