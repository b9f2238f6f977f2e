"""What the evidence says about each metric: rates of both revisions, the harm, and bounds that hold at all times.

Harm is the challenger's bad share less the champion's (for accuracy: the accuracy lost), so positive is worse.
Errors and slow answers come from two separate samples: the bounds on the difference take the two arms' bounds,
each at half the error probability (a union bound). Labelled accuracy is paired: both revisions answer the same
texts, and the bounds are those of the mean difference, which needs far fewer texts. Disagreement is one share.

The lower bounds of all metrics together are wrong with probability at most alpha over the whole rollout (alpha is
split evenly across metrics), which limits false rollbacks. Each upper bound is wrong with probability at most
alpha; a wrong promotion needs the upper bound of the harmed metric to be wrong, whatever the others do (an
intersection-union test, Berger 1982), so these need no split.
"""

from dataclasses import dataclass

from components.rollout.analysis.bounds import lower_bound, mean_of, upper_bound
from components.rollout.analysis.evidence import Evidence, PairCounts
from components.rollout.target import Histogram

METRICS = ("errors", "slow", "disagreement", "accuracy")
BINARY = (0.0, 1.0)
PAIRED = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Arm:
    """One revision's side of a metric: `bad` of `total`; for accuracy, bad answers are wrong ones."""

    total: int
    bad: int
    rate: float | None
    low: float
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
    upper: float
    total: int
    """How much evidence there is about the challenger: requests or texts."""


def read(evidence: Evidence, alpha: float) -> dict[str, Reading]:
    """The reading of each of `METRICS`."""
    champion, challenger = evidence.champion, evidence.challenger
    pairs = evidence.pairs
    return {
        "errors": _separate(
            "errors", (champion.requests, champion.errors), (challenger.requests, challenger.errors), alpha
        ),
        "slow": _slow(evidence, alpha),
        "disagreement": _disagreement(pairs, alpha),
        "accuracy": _accuracy(pairs, alpha),
    }


def _arm(total: int, bad: int, alpha: float) -> Arm:
    counts = (total - bad, bad)
    rate = float(mean_of(counts, BINARY)) if total else None
    low, high = lower_bound(counts, BINARY, alpha / 2), upper_bound(counts, BINARY, alpha / 2)
    return Arm(total, bad, rate, float(low), float(high))


def _separate(metric: str, champion: tuple[int, int], challenger: tuple[int, int], alpha: float) -> Reading:
    """Two samples of (total, bad)."""
    old, new = _arm(*champion, alpha), _arm(*challenger, alpha)
    if old.rate is None or new.rate is None:
        return Reading(metric, old, new, None, -1.0, 1.0, new.total)
    old_counts, new_counts = (old.total - old.bad, old.bad), (new.total - new.bad, new.bad)
    half = alpha / len(METRICS) / 2
    lower = lower_bound(new_counts, BINARY, half) - upper_bound(old_counts, BINARY, half)
    upper = upper_bound(new_counts, BINARY, alpha / 2) - lower_bound(old_counts, BINARY, alpha / 2)
    return Reading(metric, old, new, new.rate - old.rate, float(lower), float(upper), new.total)


def _slow(evidence: Evidence, alpha: float) -> Reading:
    limit, baseline = evidence.slow_ms, evidence.baseline or Histogram()
    if limit is None:
        return _separate("slow", (0, 0), (0, 0), alpha)
    old, new = evidence.champion.latencies, evidence.challenger.latencies
    champion = (max(old.total - baseline.total, 0), max(old.above(limit) - baseline.above(limit), 0))
    return _separate("slow", champion, (new.total, new.above(limit)), alpha)


def _disagreement(pairs: PairCounts, alpha: float) -> Reading:
    arm = _arm(pairs.compared, pairs.disagreeing, alpha)
    counts = (arm.total - arm.bad, arm.bad)
    lower = float(lower_bound(counts, BINARY, alpha / len(METRICS)))
    upper = float(upper_bound(counts, BINARY, alpha))
    return Reading("disagreement", None, arm, arm.rate, lower, upper, arm.total)


def _accuracy(pairs: PairCounts, alpha: float) -> Reading:
    total, lost, won = pairs.labelled, pairs.champion_only_right, pairs.challenger_only_right
    old = _arm(total, total - pairs.both_right - lost, alpha)
    new = _arm(total, total - pairs.both_right - won, alpha)
    if not total:
        return Reading("accuracy", old, new, None, -1.0, 1.0, 0)
    counts = (won, total - won - lost, lost)
    lower = 2 * float(lower_bound(counts, PAIRED, alpha / len(METRICS))) - 1
    upper = 2 * float(upper_bound(counts, PAIRED, alpha)) - 1
    return Reading("accuracy", old, new, (lost - won) / total, lower, upper, total)
