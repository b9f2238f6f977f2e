"""Bounds on a mean for the readings of accuracy and disagreement; they hold at every look, however often one looks.

Method: testing by betting (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting",
JRSS B 2024, the grid of constant bets of section 5, GKelly). To test "the mean is at most m" for observations
x in [0, 1], a gambler who bets the share g of his capital multiplies it by 1 - g + g x / m with each
observation. When the mean is at most m, the capital does not grow in expectation for any g. So the average over
many g does not grow either. By Ville's inequality it ever exceeds 1 / alpha with probability at most alpha.
The lower bound is the smallest m at which the averaged capital has stayed below 1 / alpha. With constant bets,
the capital depends on how often each value was seen and not on the order, so counts suffice.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BETS: Floats = np.concatenate([np.geomspace(0.001, 0.5, 28), 1 - np.geomspace(0.4, 0.005, 14)])
"""Shares of the capital that are bet, from cautious to bold."""
_SEARCHES = 5
_POINTS = 17
"""Each search divides the interval of the bound into `_POINTS` - 1 parts, so the bound is exact to 16 ** -5."""
_CHUNK = 2000
"""Rows at a time, to bound the memory of `_log_capital`."""


def mean_of(counts: npt.ArrayLike, values: npt.ArrayLike) -> Floats:
    """The observed mean; NaN where nothing was observed. Shapes as for `lower_bound`."""
    counts, values = np.asarray(counts, float), np.asarray(values, float)
    total = counts.sum(axis=-1)
    mean: Floats = np.divide(counts @ values, total, out=np.full(np.shape(total), np.nan), where=np.asarray(total > 0))
    return mean


def lower_bound(counts: npt.ArrayLike, values: npt.ArrayLike, alpha: float) -> Floats:
    """A lower bound on the mean of independent observations in [0, 1].

    Args:
        counts: how often each value was seen, shape (..., values).
        values: the values that an observation can take, within [0, 1], shape (values,).
        alpha: the probability, at most, that the bound is ever above the mean during the whole experiment.

    Returns:
        Bounds of shape (...); 0 where nothing was observed.
    """
    counts, values = np.asarray(counts, float), np.asarray(values, float)
    rows = counts.reshape(-1, values.size)
    parts = [_lower(rows[start : start + _CHUNK], values, alpha) for start in range(0, len(rows), _CHUNK)]
    return np.concatenate(parts).reshape(counts.shape[:-1]) if parts else np.zeros(counts.shape[:-1])


def upper_bound(counts: npt.ArrayLike, values: npt.ArrayLike, alpha: float) -> Floats:
    """An upper bound on the mean, as `lower_bound` with all values mirrored; 1 where nothing was observed."""
    return 1 - lower_bound(counts, 1 - np.asarray(values, float), alpha)


def is_above(counts: npt.ArrayLike, mean: float, alpha: float) -> npt.NDArray[np.bool_]:
    """Whether the share of bad ones is shown to be above `mean`: whether `lower_bound` would lie there.

    Args:
        counts: how many were (good, bad), shape (..., 2).
        mean: a share between 0 and 1.
        alpha: the probability, at most, of ever claiming it wrongly.

    Returns:
        Shape (...).
    """
    counts = np.asarray(counts, float)
    logs = _log_capital(counts.reshape(-1, 2), np.array([0.0, 1.0]), np.full((counts[..., 0].size, 1), mean))
    return np.asarray(logs[:, 0] >= np.log(1 / alpha)).reshape(counts.shape[:-1])


def _log_capital(rows: Floats, values: Floats, means: Floats) -> Floats:
    """Logarithm of the averaged capital against "the mean is at most m"; rows (n, v), means (n, p) -> (n, p)."""
    growth = np.log1p(_BETS * (values[None, None, :, None] / means[:, :, None, None] - 1))
    logs = np.einsum("nv,npvb->npb", rows, growth)
    top = logs.max(axis=-1, keepdims=True)
    capital: Floats = top[..., 0] + np.log(np.exp(logs - top).mean(axis=-1))
    return capital


def _lower(rows: Floats, values: Floats, alpha: float) -> Floats:
    """Search for the mean at which the capital reaches 1 / alpha; the capital falls as the mean grows."""
    low, high = np.zeros(len(rows)), np.ones(len(rows))
    steps = np.linspace(0, 1, _POINTS)[1:-1]
    for _ in range(_SEARCHES):
        points = low[:, None] + (high - low)[:, None] * steps
        rejected = (_log_capital(rows, values, points) >= np.log(1 / alpha)).sum(axis=1)
        edges = np.column_stack([low, points, high])
        index = np.arange(len(rows))
        low, high = edges[index, rejected], edges[index, rejected + 1]
    return low
