"""Tests whether requests reach the revisions in the configured shares (sample-ratio mismatch), for the verdict.

Method: the sequential multinomial test of Lindon & Malek, "Anytime-valid inference for multinomial count data", NeurIPS
2022 (arXiv:2011.03567). The Bayes factor of a Beta-distributed share against the configured share is a martingale while
the configured share holds. So by Ville's inequality it ever exceeds 1 / alpha with probability at most alpha. Each step
has its own Bayes factor; their average with weights 1/2, 1/4, … is a martingale again.

A mismatch means that counts cannot be trusted: requests are lost, counted twice, or not routed at random. No verdict
about the revisions follows from such counts.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betaln

CONCENTRATION = 20.0
"""Concentration of the Beta prior, which prefers shares a few points away from the configured one."""


@dataclass
class Split:
    """The requests of one step by revision, with the configured share."""

    percent: int
    """The challenger's configured share, above 0 and below 100; at 0 and 100 routing is not random."""
    old: int = 0
    """Requests that reached the champion."""
    new: int = 0
    """Requests that reached the challenger."""


def mismatch(splits: Sequence[Split]) -> float:
    """Logarithm of the evidence against the configured shares.

    While these hold, it ever exceeds log(1 / alpha) with probability at most alpha.
    """
    return float(average([log_bayes_factor(split.old, split.new, split.percent / 100) for split in splits]))


def average(logs: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Logarithm of the weighted average of the steps' Bayes factors.

    Args:
        logs: logarithm of each step's Bayes factor. Steps that have not begun have the factor 1, with all weight left.
    """
    weighted = [log - number * np.log(2) for number, log in enumerate(logs, 1)]
    later_steps = np.asarray(-len(logs) * np.log(2))
    return np.asarray(functools.reduce(np.logaddexp, weighted, later_steps))


def log_bayes_factor(old: npt.ArrayLike, new: npt.ArrayLike, share: float) -> npt.NDArray[np.float64]:
    """Logarithm of the Bayes factor of a free share against the configured one; elementwise for arrays.

    Args:
        old: requests that reached the champion, each routed independently.
        new: requests that reached the challenger.
        share: the challenger's configured share, above 0 and below 1.
    """
    old, new = np.asarray(old, float), np.asarray(new, float)
    prior = CONCENTRATION * share, CONCENTRATION * (1 - share)
    marginal = betaln(new + prior[0], old + prior[1]) - betaln(*prior)
    return np.asarray(marginal - new * np.log(share) - old * np.log(1 - share))
