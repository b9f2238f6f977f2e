"""How much of the teacher's quality a variant keeps, with a bound that holds with a stated confidence.

A point estimate on a few hundred texts would let a variant pass by luck. The bound is that of a paired, stratified
bootstrap (Efron & Tibshirani 1993, ch. 13): the resamples keep the number of texts of each class and take both models'
answers to a text together. Few texts on which the two differ would make the bootstrap too sure (none: certain), so
one half of a text is added on which only the variant is wrong and one half on which only the teacher is, as Agresti &
Min (2005, Simple improved confidence intervals for comparing matched proportions) do.
"""

from dataclasses import dataclass

import numpy as np

from components.evaluate.scores import Indices, macro_f1

SAMPLES = 2000
PSEUDO_TEXTS = 0.5


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
    generator = np.random.default_rng(seed)
    counts = np.zeros((classes, classes + 1, classes + 1))  # the last answer stands for any wrong one
    np.add.at(counts, (truth, variant, teacher), 1)
    whole = counts.sum()
    of_variant, of_teacher = (np.zeros((SAMPLES, classes, classes + 1), dtype=np.int64) for _ in range(2))
    for row in range(classes):
        texts = counts[row].sum()
        if not texts:
            continue
        smoothed = counts[row].copy()
        smoothed[row, classes] += PSEUDO_TEXTS * texts / whole
        smoothed[classes, row] += PSEUDO_TEXTS * texts / whole
        draws = generator.multinomial(int(texts), (smoothed / smoothed.sum()).ravel(), size=SAMPLES)
        draws = draws.reshape(SAMPLES, classes + 1, classes + 1)
        of_variant[:, row], of_teacher[:, row] = draws.sum(axis=2), draws.sum(axis=1)
    least = np.finfo(float).tiny
    shares = macro_f1(of_variant) / np.maximum(macro_f1(of_teacher), least)
    exact = macro_f1(counts.sum(axis=2).astype(np.int64)), macro_f1(counts.sum(axis=1).astype(np.int64))
    return Kept(float(exact[0]) / max(float(exact[1]), least), float(np.quantile(shares, 1 - confidence)))
