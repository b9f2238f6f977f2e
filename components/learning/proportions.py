"""Exact confidence bounds of a proportion (Clopper and Pearson 1934, The use of confidence or fiducial limits)."""

import numpy as np
import numpy.typing as npt

from slipway.components.learning.scores import Floats

Whole = npt.ArrayLike
"""Whole numbers, one or an array."""


def upper(hits: Whole, total: Whole, error: float) -> Floats:
    """The greatest proportion at which so few hits, or fewer, have at least the probability `error`.

    Args:
        hits: number of hits.
        total: number of trials, at least 1; the same shape.
        error: probability that the bound is below the true proportion, at most.
    """
    from scipy.special import betaincinv  # imported here, since few steps need SciPy

    hits, total = np.asarray(hits), np.asarray(total)
    missed = total - hits
    return np.where(missed > 0, betaincinv(hits + 1, np.maximum(missed, 1), 1 - error), 1.0)


def lower(hits: Whole, total: Whole, error: float) -> Floats:
    """The least proportion at which so many hits, or more, have at least the probability `error`; see `upper`."""
    return 1 - upper(np.asarray(total) - np.asarray(hits), total, error)
