"""Whether requests reach the revisions in the shares that were asked for (sample-ratio mismatch).

Method: the sequential multinomial test of Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS
2022 (arXiv:2011.03567): the Bayes factor of a Beta-distributed share against the asked one is a martingale while
the asked one holds, so by Ville's inequality it ever exceeds 1 / alpha with probability at most alpha. Each step has a
Bayes factor of its own; their average with weights 1/2, 1/4, … is a martingale again.

A mismatch means that counts cannot be trusted: requests are lost, counted twice, or routed by something else
than chance. No verdict about the revisions follows from such counts.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

CONCENTRATION = 20.0
"""Of the Beta prior: shares a few points from the asked one are what it looks for."""


@dataclass
class Split:
    """The requests of one step: what was asked for and where they went."""

    percent: int
    """Asked for the challenger, between 0 and 100, both excluded: at the ends nothing is left to chance."""
    old: int = 0
    new: int = 0


def mismatch(splits: Sequence[Split]) -> float:
    """Logarithm of the evidence against the asked shares; above log(1 / alpha) by chance with probability alpha."""
    return float(average([log_bayes_factor(split.old, split.new, split.percent / 100) for split in splits]))


def average(logs: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Logarithm of the weighted average of the steps' Bayes factors, given as logarithms; later steps count as 1."""
    weighted = [log - number * np.log(2) for number, log in enumerate(logs, 1)]
    left = np.asarray(-len(logs) * np.log(2))
    return np.asarray(functools.reduce(np.logaddexp, weighted, left))


def log_bayes_factor(old: npt.ArrayLike, new: npt.ArrayLike, share: float) -> npt.NDArray[np.float64]:
    """Of a free share against the asked one, for counts of independently routed requests; elementwise for arrays."""
    old, new = np.asarray(old, float), np.asarray(new, float)
    prior = CONCENTRATION * share, CONCENTRATION * (1 - share)
    marginal = betaln(new + prior[0], old + prior[1]) - betaln(*prior)
    return np.asarray(marginal - new * np.log(share) - old * np.log(1 - share))
