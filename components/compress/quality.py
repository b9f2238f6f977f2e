"""How much of the teacher's quality a variant keeps, with a bound that holds with a stated confidence.

A point estimate on a few hundred texts would let a variant pass by luck. The bound is that of the paired bootstrap in
`slipway.components.learning.bootstrap`.
"""

from dataclasses import dataclass

import numpy as np

from slipway.components.learning.bootstrap import Resamples
from slipway.components.learning.scores import Indices, confusion_matrix, macro_f1

SAMPLES = 2000


@dataclass(frozen=True)
class Kept:
    """The variant's macro-F1 as a share of the teacher's, and what it is at least with the confidence asked for."""

    share: float
    at_least: float


ALL = Kept(1.0, 1.0)
"""What the teacher keeps of itself."""


def kept(truth: Indices, variant: Indices, teacher: Indices, classes: int, confidence: float, seed: int = 0) -> Kept:
    """What a variant keeps of the teacher's macro-F1.

    Args:
        truth: true classes, shape (texts,).
        variant: the variant's answers, shape (texts,).
        teacher: the teacher's, shape (texts,).
        classes: number of classes.
        confidence: one-sided, of `at_least`.
        seed: of the resamples.
    """
    least = np.finfo(float).tiny
    of_variant, of_teacher = Resamples(truth, variant, teacher, classes, SAMPLES, seed).scores("macro_f1")
    shares = of_variant / np.maximum(of_teacher, least)
    exact = [float(macro_f1(confusion_matrix(truth, answers, classes))) for answers in (variant, teacher)]
    return Kept(exact[0] / max(exact[1], least), float(np.quantile(shares, 1 - confidence)))
