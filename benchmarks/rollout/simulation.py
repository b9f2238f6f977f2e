"""Many rollouts at once, decided by the real analysis: its comparisons carry one row for each rollout."""

import functools
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from benchmarks.rollout.traffic import Case, busy_spells, period
from slipway.components.rollout.analysis.bounds import lower_bound, upper_bound
from slipway.components.rollout.analysis.difference import Block, Comparison, comparison
from slipway.components.rollout.analysis.evidence import SLOW_DESIGN_EFFECT, SLOW_SPELLS
from slipway.components.rollout.analysis.readings import ALPHA_SHARES, PAIRED
from slipway.components.rollout.analysis.split import average, log_bayes_factor
from slipway.components.rollout.analysis.verdict import is_no_worse, is_worse
from slipway.components.rollout.phases import design_effect
from slipway.components.rollout.settings import RolloutSettings

HELD, PROMOTED, ROLLED_BACK = 0, 1, 2
LOOKS = 400
"""Looks that a step may take."""
PROBES = 2400
METRICS = ("errors", "slow")


@dataclass(frozen=True)
class Ended:
    """How every rollout ended, with how many requests to the challenger and after how many looks."""

    outcome: npt.NDArray[np.int64]
    requests: npt.NDArray[np.float64]
    looks: npt.NDArray[np.int64]


def simulate(case: Case, runs: int, settings: RolloutSettings, seed: int) -> Ended:
    """Whole rollouts: comparison of probes, then steps of traffic."""
    random = np.random.default_rng(seed)
    ended = Ended(compare_probes(case.answers, runs, settings, seed).copy(), np.zeros(runs), np.zeros(runs, int))
    alive = np.flatnonzero(ended.outcome == PROMOTED)
    ended.outcome[alive] = HELD
    shares = (case.errors[0], case.slow(settings.slow_factor)[0])
    before = [random.binomial(settings.baseline_requests, chance, runs) for chance in shares]
    least = design_effect(settings.sticky_requests) if case.sticky else 1.0
    tests = []
    for metric, bad, assumed, spells in zip(
        METRICS, before, (1.0, SLOW_DESIGN_EFFECT), (0.0, SLOW_SPELLS), strict=True
    ):
        margin = settings.rules().margins[metric]
        known = np.stack([bad, np.full(runs, settings.baseline_requests)], axis=-1)
        tests.append(comparison(margin, (0.0, margin), known, assumed, spells, (runs,), least))
    tests = [rows(test, alive) for test in tests]
    splits: list[npt.NDArray[np.float64]] = []
    busy = busy_spells(case, runs, LOOKS * len(settings.percents), random) if case.spells else None
    for percent in settings.percents:
        tests = [test.updated(Block(0, 0, 0, 0)).started_again() for test in tests]
        here = _Step(case, percent, percent == settings.percents[-1], settings, splits, busy)
        going, tests, split = _run(here, tests, alive, ended, random)
        splits = [log[going] for log in (*splits, split)]
        tests = [rows(test, going) for test in tests]
        alive = alive[going]
    return ended


@functools.cache
def compare_probes(
    answers: tuple[float, float], runs: int, settings: RolloutSettings, seed: int
) -> npt.NDArray[np.int64]:
    """How the phase `compare` ends: `PROMOTED` for those that go on to traffic.

    Args:
        answers: parts of the texts that (the champion, the challenger) alone has right.
        runs: number of rollouts.
        settings: of the rollouts.
        seed: of chance.
    """
    random, rules = np.random.default_rng(seed), settings.rules()
    kinds = [*answers, 1 - sum(answers)]
    seen, waiting, outcome = np.zeros((runs, 3)), np.arange(runs), np.full(runs, HELD)
    for _ in range(PROBES // settings.probe_batch):
        seen[waiting] += random.multinomial(settings.probe_batch, kinds, len(waiting))
        lost, won, same = seen[waiting].T
        ordered = np.stack([won, same, lost], -1)
        low = 2 * lower_bound(ordered, PAIRED, rules.alpha * ALPHA_SHARES["accuracy"]) - 1
        high = 2 * upper_bound(ordered, PAIRED, rules.beta) - 1
        harm = (lost - won) / seen[waiting].sum(axis=1)
        worse = is_worse("accuracy", harm, low, rules.max_accuracy_drop)
        fine = is_no_worse(high, rules.max_accuracy_drop) & ~worse
        outcome[waiting[worse]] = ROLLED_BACK
        outcome[waiting[fine]] = PROMOTED
        waiting = waiting[~fine & ~worse]
    return outcome


@dataclass(frozen=True)
class _Step:
    case: Case
    percent: int
    last: bool
    settings: RolloutSettings
    splits: list[npt.NDArray[np.float64]]
    """Evidence of a wrong split of traffic in the steps before."""
    busy: npt.NDArray[np.bool_] | None
    """Busy spells, shape (looks, 2, all rollouts)."""

    def judge(
        self, tests: list[Comparison], counted: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        """Who is worse, who may go on, and the evidence of a wrong split."""
        rules, size = self.settings.rules(), counted.shape[1]
        worse, fine, split = np.zeros(size, bool), counted[1] >= self.settings.minimum_requests, np.zeros(size)
        for metric, test in zip(METRICS, tests, strict=True):
            margin, alpha = rules.margins[metric], rules.alpha * ALPHA_SHARES[metric]
            worse |= is_worse(metric, np.fmax(test.harm, test.harm_lately), test.lower(alpha), margin)
            fine &= is_no_worse(test.upper(rules.beta), margin) | (not self.last)
        if not self.case.sticky:
            split = log_bayes_factor(counted[0], counted[1], self.percent / 100)
            fine &= average([*self.splits, split]) < -np.log(rules.alpha * ALPHA_SHARES["split"])
        return worse, fine & ~worse, split


def _run(
    step: _Step, tests: list[Comparison], alive: npt.NDArray[np.int64], ended: Ended, random: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], list[Comparison], npt.NDArray[np.float64]]:
    """One step of all rollouts that are alive: which go on, their tests, and their evidence of a wrong split."""
    here, went = np.ones(len(alive), bool), np.zeros(len(alive), bool)
    counted, split = np.zeros((2, len(alive))), np.zeros(len(alive))
    settings = step.settings
    window, least = (max(round(time / settings.poll_s), 1) for time in (settings.window_s, settings.least_time_s))
    for look in range(1, LOOKS + 1):
        busy = None if step.busy is None else step.busy[ended.looks[alive], :, alive].T
        ended.looks[alive] += here
        seen = period(step.case, step.percent / 100, ended.looks[alive], random, settings.slow_factor, busy)
        old, new = (count * here for count in seen.requests)
        ended.requests[alive] += new
        counted += old, new
        blocks = [Block(old, kind[0] * here, new, kind[1] * here) for kind in (seen.failed, seen.slow)]
        tests = [
            test.updated(block, whole)
            for test, block, whole in zip(tests, blocks, (True, look % window == 0), strict=True)
        ]
        worse, fine, split = step.judge(tests, counted)
        fine &= (old > 0) & (new > 0) & (look >= least)
        ended.outcome[alive[worse & here]] = ROLLED_BACK
        went |= fine & here
        here &= ~(worse | fine)
        if not here.any():
            break
    if step.last:
        ended.outcome[alive[went]] = PROMOTED
    return went, tests, split


def rows(test: Comparison, chosen: npt.NDArray[np.generic]) -> Comparison:
    """The comparisons of some rollouts."""
    shared = ("harms", "effects", "assumed", "least", "spells", "margin", "starts")
    return replace(test, **{f.name: getattr(test, f.name)[chosen] for f in fields(test) if f.name not in shared})
