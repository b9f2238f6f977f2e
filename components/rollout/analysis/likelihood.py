"""Likelihood ratios for the comparison: an alternative against the nearest pair of shares with a given difference."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RARE = 5e-4
"""Least distance of an alternative's shares from 0 and 1, where logarithms would be infinite."""
_HALVINGS = 40
"""Steps of the bisection; each halves the error, so it ends below 1e-12."""


def log_ratio(
    counts: tuple[Floats, ...],
    old_share: Floats,
    new_share: Floats,
    harm: Floats,
    side: float,
) -> Floats:
    """Logarithm of the likelihood of an alternative over that of the nearest shares with the given harm.

    Args:
        counts: (old, old bad, new, new bad) of a block, each of shape (..., 1, 1).
        old_share: the champion's bad share in the alternative, shape (..., 1, 1).
        new_share: the challenger's, shape (..., harms, alternatives).
        harm: the tested harms, shape (harms, 1).
        side: 1 for alternatives with more harm than tested, -1 for less.

    Returns:
        Shape (..., harms, alternatives); 0, which is no bet, for an alternative on the wrong side of the hypothesis.
    """
    old, old_bad, new, new_bad = counts
    new_share = np.clip(new_share, RARE, 1 - RARE)
    bets = (side * (new_share - old_share - harm) > 1e-9) & (old > 0) & (new > 0)
    nearest = _nearest(old, new, old_share, new_share, harm)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = _log_likelihoods(old, old_bad, old_share, nearest) + _log_likelihoods(
            new, new_bad, new_share, nearest + harm
        )
    return np.where(bets, log, 0.0)


def _log_likelihoods(
    total: Floats,
    bad: Floats,
    share: Floats,
    reference: Floats,
) -> Floats:
    log: Floats = bad * np.log(share / reference) + (total - bad) * np.log((1 - share) / (1 - reference))
    return log


def _nearest(
    old: Floats,
    new: Floats,
    old_share: Floats,
    new_share: Floats,
    harm: Floats,
) -> Floats:
    """The champion's share that is nearest to the alternative in Kullback-Leibler divergence, given the harm.

    The divergence of a block is convex in this share, so a bisection finds the root of its derivative.
    """
    low, high = np.maximum(0.0, -harm), np.minimum(1.0, 1 - harm)
    shape = np.broadcast_shapes(old.shape, old_share.shape, new_share.shape, harm.shape)
    low, high = np.broadcast_to(low, shape), np.broadcast_to(high, shape)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        moved = middle + harm
        slope = old * (middle - old_share) * moved * (1 - moved) + new * (moved - new_share) * middle * (1 - middle)
        low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
    return (low + high) / 2
