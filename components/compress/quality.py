"""Measure how much of the teacher's quality a variant keeps, with a lower bound of a given confidence.

By a point estimate on a few hundred texts a variant could pass by luck. The bound comes from the paired bootstrap in
`slipway.components.learning.bootstrap`.
"""

from dataclasses import dataclass

import numpy as np

from slipway.components.learning.bootstrap import Resamples
from slipway.components.learning.scores import Indices, confusion_matrix, macro_f1

SAMPLES = 2000
"""Number of resamples."""


@dataclass(frozen=True)
class Kept:
    """The variant's macro-F1 as a share of the teacher's, and the lower bound of this share."""

    share: float
    at_least: float


ALL = Kept(1.0, 1.0)
"""The value of the teacher itself."""


def kept(truth: Indices, variant: Indices, teacher: Indices, classes: int, confidence: float, seed: int = 0) -> Kept:
    """Measure the share of the teacher's macro-F1 that a variant keeps.

    Args:
        truth: true classes, shape (texts,).
        variant: classes that the variant predicts, shape (texts,).
        teacher: classes that the teacher predicts, shape (texts,).
        classes: number of classes.
        confidence: one-sided confidence of the bound `at_least`.
        seed: of the resamples.
    """
    smallest = np.finfo(float).tiny
    of_variant, of_teacher = Resamples(truth, variant, teacher, classes, SAMPLES, seed).scores("macro_f1")
    shares = of_variant / np.maximum(of_teacher, smallest)
    exact = [float(macro_f1(confusion_matrix(truth, predicted, classes))) for predicted in (variant, teacher)]
    return Kept(exact[0] / max(exact[1], smallest), float(np.quantile(shares, 1 - confidence)))
