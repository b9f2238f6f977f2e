"""What others do about failed requests, in its plainest form, on the same traffic: to find a rise, and to find none.

Fixed horizon     a z-test of two shares after a number of requests that was fixed before (no look until then)
Thresholds        as Flagger: a period in which the challenger's success rate is too low is a failed check, and too many
                  failed checks roll back; threshold and number are the quickest with the wanted rate of false alarms
Mann-Whitney      as Kayenta: the failure rates by period of both revisions, tested anew at every look
"""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu, norm

from benchmarks.rollout.traffic import Case, Numbers, period
from slipway.components.rollout.analysis.difference import Block, comparison
from slipway.components.rollout.analysis.readings import ALPHA_SHARES
from slipway.components.rollout.analysis.verdict import is_worse
from slipway.components.rollout.settings import RolloutSettings

LOOKS = 80
BASELINE = 100
FIRST_TEST = 5
"""Periods that Mann-Whitney waits for."""
NEVER = -1


@dataclass(frozen=True)
class Series:
    """Requests and failures by rollout and period, shape (rollouts, periods), and the champion's failures before."""

    old: Numbers
    old_failed: Numbers
    new: Numbers
    new_failed: Numbers
    before: Numbers


def series(case: Case, runs: int, share: float, seed: int) -> Series:
    """`LOOKS` periods of traffic, whatever is decided."""
    random = np.random.default_rng(seed)
    seen = [period(case, share, np.full(runs, look), random) for look in range(LOOKS)]
    old, old_failed, new, new_failed = (
        np.stack([getattr(found, name)[arm] for found in seen], axis=1)
        for arm in (0, 1)
        for name in ("requests", "failed")
    )
    return Series(old, old_failed, new, new_failed, random.binomial(BASELINE, case.errors[0], runs).astype(float))


def sequential(given: Series, settings: RolloutSettings) -> npt.NDArray[np.int64]:
    """The look at which the rollout's own analysis finds more failures; `NEVER` where it does not."""
    rules, runs = settings.rules(), len(given.old)
    before = np.stack([given.before, np.full(runs, BASELINE)], axis=-1)
    test = comparison(rules.max_error_rise, (0.0,), before, shape=(runs,))
    alarms = []
    for look in range(LOOKS):
        test = test.updated(
            Block(*(part[:, look] for part in (given.old, given.old_failed, given.new, given.new_failed)))
        )
        low = test.lower(rules.alpha * ALPHA_SHARES["errors"])
        alarms.append(is_worse("errors", test.harm, low, rules.max_error_rise))
    return first(np.stack(alarms, axis=1))


def thresholds(given: Series, lowest: float, checks: int) -> npt.NDArray[np.int64]:
    """The look at which as many periods as `checks` had a success rate below `lowest`."""
    success = 1 - given.new_failed / np.maximum(given.new, 1)
    return first(np.cumsum(success < lowest, axis=1) >= checks)


def quickest_thresholds(same: Series, worse: Series, false_alarms: float) -> tuple[float, int]:
    """Of the thresholds with at most this rate of false alarms, the ones that find the rise soonest."""
    found = {}
    for lowest, checks in itertools.product((0.995, 0.99, 0.98, 0.97, 0.95, 0.93, 0.9, 0.85), (1, 2, 3, 5, 8, 10, 15)):
        if (thresholds(same, lowest, checks) != NEVER).mean() <= false_alarms:
            looks = thresholds(worse, lowest, checks)
            found[lowest, checks] = np.where(looks == NEVER, LOOKS, looks).mean()
    return min(found, key=lambda pair: found[pair])


def mann_whitney(given: Series, level: float) -> npt.NDArray[np.int64]:
    """The look at which a one-sided test of the periods' failure rates first has a p-value below `level`."""
    old, new = given.old_failed / np.maximum(given.old, 1), given.new_failed / np.maximum(given.new, 1)
    alarms = np.zeros(old.shape, bool)
    for look in range(FIRST_TEST, LOOKS):
        with np.errstate(invalid="ignore", divide="ignore"):
            tested = mannwhitneyu(
                new[:, : look + 1], old[:, : look + 1], alternative="greater", axis=1, method="asymptotic"
            )
        alarms[:, look] = np.nan_to_num(tested.pvalue, nan=1.0) < level
    return first(alarms)


def fixed_horizon(rates: tuple[float, float], share: float, level: float, power: float) -> float:
    """Requests to the challenger that a one-sided z-test of two shares needs (unpooled variance).

    Args:
        rates: shares of failed requests of (champion, challenger).
        share: the challenger's share of traffic.
        level: the probability of a false alarm.
        power: the probability of finding the rise.
    """
    old, new = rates
    variance = new * (1 - new) + old * (1 - old) * share / (1 - share)
    return float((norm.isf(level) + norm.ppf(power)) ** 2 * variance / (new - old) ** 2)


def first(alarms: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The first period with an alarm by rollout."""
    return np.where(alarms.any(axis=1), alarms.argmax(axis=1), NEVER)


def requests_until(given: Series, looks: npt.NDArray[np.int64]) -> Numbers:
    """The challenger's requests up to a look, in the rollouts in which there was one."""
    done = looks != NEVER
    total: Numbers = np.cumsum(given.new, axis=1)[done, looks[done]]
    return total
