"""Computes from the evidence a reading of each metric, for the verdict and for reports.

A reading has the rates of both revisions, the harm, and bounds of the harm that hold at every look. Harm is the
challenger's bad share less the champion's (for accuracy: the accuracy lost), so positive is worse. Errors and slow
answers are compared within periods (`analysis.difference`). Accuracy is paired: both revisions answer the same labelled
texts, and the bounds are those of the mean difference. Disagreement is one share (`analysis.bounds`). On labelled texts
it is information only: a challenger that is right where the champion is wrong disagrees too.

False rollbacks: the lower bounds of all metrics together, and the test of the traffic split, are wrong with probability
at most alpha over the whole rollout; `ALPHA_SHARES` splits it (a union bound). Wrong promotions: each upper bound is
wrong with probability at most beta, and promoting something worse than a margin needs that metric's own bound to be
wrong, whatever the others do (intersection-union test: Berger, "Multiparameter hypothesis testing and acceptance
sampling", Technometrics 1982), so beta needs no split.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from slipway.components.rollout.analysis.bounds import lower_bound, mean_of, upper_bound
from slipway.components.rollout.analysis.difference import Comparison
from slipway.components.rollout.analysis.evidence import Evidence, PairCounts

METRICS = ("errors", "slow", "disagreement", "accuracy", "shadow")
ALPHA_SHARES = {"errors": 0.35, "slow": 0.3, "accuracy": 0.1, "shadow": 0.1, "watch": 0.1, "split": 0.05}
BINARY = (0.0, 1.0)
"""Values of an answer: good, bad."""
PAIRED = (0.0, 0.5, 1.0)
"""Values of a labelled text: the challenger alone is right, both or none, the champion alone."""


@dataclass(frozen=True)
class Arm:
    """One revision's side of a metric: `bad` of `total`; for accuracy, bad answers are wrong ones."""

    total: int
    """Requests or texts."""
    bad: int
    """The bad ones among them."""
    rate: float | None
    """Share of bad ones; None while there are none at all."""
    low: float
    """Lower end of the confidence sequence."""
    high: float
    """`low` to `high` is a 1 - alpha confidence sequence of the rate, for people; decisions use the harm."""


@dataclass(frozen=True)
class Reading:
    """One metric at one moment. Shares are between 0 and 1; harm lies between -1 and 1."""

    metric: str
    champion: Arm | None
    challenger: Arm | None
    """For disagreement, the share of texts on which it differs from the champion."""
    harm: float | None
    """The best estimate; None while data is missing."""
    lower: float
    """Lower bound of the harm; -1 or 0 while data is missing."""
    upper: float
    """Upper bound of the harm; 1 while data is missing."""
    total: int
    """Requests to the challenger, or texts."""
    lately: float | None = None
    """The estimate from the present step alone; for errors and slow answers only."""


def read(evidence: Evidence, alpha: float, beta: float) -> dict[str, Reading]:
    """The reading of each of `METRICS`.

    Args:
        evidence: of the rollout.
        alpha: probability of a false rollback, over all metrics and the whole rollout.
        beta: probability of a wrong promotion.
    """
    levels = {metric: (alpha * share, beta) for metric, share in ALPHA_SHARES.items()}
    return {
        "errors": _compared("errors", evidence.errors, alpha, *levels["errors"]),
        "slow": _compared("slow", evidence.slow, alpha, *levels["slow"]),
        "disagreement": _disagreement("disagreement", evidence.pairs, alpha, *levels["shadow"]),
        "accuracy": _accuracy(evidence.pairs, alpha, *levels["accuracy"]),
        "shadow": _disagreement("shadow", evidence.copies, alpha, *levels["shadow"]),
    }


@lru_cache(maxsize=1000)
def _arm(total: int, bad: int, alpha: float) -> Arm:
    counts = (total - bad, bad)
    rate = float(mean_of(counts, BINARY)) if total else None
    low, high = lower_bound(counts, BINARY, alpha / 2), upper_bound(counts, BINARY, alpha / 2)
    return Arm(total, bad, rate, float(low), float(high))


def _compared(metric: str, compared: Comparison | None, alpha: float, low_alpha: float, high_alpha: float) -> Reading:
    if compared is None:
        return Reading(metric, None, None, None, -1.0, 1.0, 0)
    old_total, old_bad, new_total, new_bad = (int(number) for number in compared.sums)
    old, new = _arm(old_total, old_bad, alpha), _arm(new_total, new_bad, alpha)
    if not new_total:
        return Reading(metric, old, new, None, -1.0, 1.0, 0)
    bounds = float(compared.lower(low_alpha)), float(compared.upper(high_alpha))
    lately = None if np.isnan(compared.harm_lately) else float(compared.harm_lately)
    return Reading(metric, old, new, float(compared.harm), *bounds, new_total, lately)


@lru_cache(maxsize=100)
def _disagreement(metric: str, pairs: PairCounts, alpha: float, low_alpha: float, high_alpha: float) -> Reading:
    arm = _arm(pairs.compared, pairs.disagreeing, alpha)
    counts = (arm.total - arm.bad, arm.bad)
    bounds = float(lower_bound(counts, BINARY, low_alpha)), float(upper_bound(counts, BINARY, high_alpha))
    return Reading(metric, None, arm, arm.rate, *bounds, arm.total)


@lru_cache(maxsize=100)
def _accuracy(pairs: PairCounts, alpha: float, low_alpha: float, high_alpha: float) -> Reading:
    total, lost, won = pairs.labelled, pairs.champion_only_right, pairs.challenger_only_right
    old = _arm(total, total - pairs.both_right - lost, alpha)
    new = _arm(total, total - pairs.both_right - won, alpha)
    if not total:
        return Reading("accuracy", old, new, None, -1.0, 1.0, 0)
    counts = (won, total - won - lost, lost)
    lower = 2 * float(lower_bound(counts, PAIRED, low_alpha)) - 1
    upper = 2 * float(upper_bound(counts, PAIRED, high_alpha)) - 1
    return Reading("accuracy", old, new, (lost - won) / total, lower, upper, total)
