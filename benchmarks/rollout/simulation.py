"""Many rollouts at once, decided by the real analysis: its comparisons carry one row for each rollout."""

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from benchmarks.rollout.traffic import Case, period
from slipway.components.rollout.analysis.bounds import lower_bound, upper_bound
from slipway.components.rollout.analysis.difference import Block, Comparison, comparison
from slipway.components.rollout.analysis.evidence import SLOW_DESIGN_EFFECT, SLOW_PATIENCE
from slipway.components.rollout.analysis.readings import ALPHA_SHARES, BINARY, PAIRED
from slipway.components.rollout.analysis.split import average, log_bayes_factor
from slipway.components.rollout.analysis.verdict import is_no_worse, is_worse
from slipway.components.rollout.phases import STICKY_DESIGN_EFFECT
from slipway.components.rollout.settings import RolloutSettings

HELD, PROMOTED, ROLLED_BACK = 0, 1, 2
RATE = 40
"""Mean number of requests between two looks."""
LOOKS = 400
"""Looks that a step may take."""
PROBES = 400
DISAGREEING = 0.08
"""Part of the probes on which two models of equal accuracy differ."""
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
    ended = Ended(np.full(runs, HELD), np.zeros(runs), np.zeros(runs, int))
    alive = compare_probes(runs, settings, ended.outcome, random)
    before = [random.binomial(settings.baseline_requests, chance, runs) for chance in (case.errors[0], case.slow[0])]
    effect = STICKY_DESIGN_EFFECT if case.sticky else 1.0
    tests = []
    for metric, bad, assumed, patience in zip(
        METRICS, before, (effect, max(effect, SLOW_DESIGN_EFFECT)), (1, SLOW_PATIENCE), strict=True
    ):
        margin = settings.rules().margins[metric]
        known = np.stack([bad, np.full(runs, settings.baseline_requests)], axis=-1)
        tests.append(comparison(margin, (0.0, margin), known, assumed, patience, (runs,)))
    tests = [rows(test, alive) for test in tests]
    splits: list[npt.NDArray[np.float64]] = []
    for percent in settings.percents:
        tests = [test.started_again() for test in tests]
        here = _Step(case, percent, percent == settings.percents[-1], settings, splits)
        going, tests, split = _run(here, tests, alive, ended, random)
        splits = [log[going] for log in (*splits, split)]
        tests = [rows(test, going) for test in tests]
        alive = alive[going]
    return ended


def compare_probes(
    runs: int, settings: RolloutSettings, outcome: npt.NDArray[np.int64], random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """The phase `compare` of two models of equal accuracy; returns the rollouts that go on."""
    rules = settings.rules()
    kinds = [DISAGREEING / 2, DISAGREEING / 2, 1 - DISAGREEING]  # only the champion right, only the challenger, as one
    seen, waiting, going = np.zeros((runs, 3)), np.arange(runs), []
    for _ in range(PROBES // settings.probe_batch):
        seen[waiting] += random.multinomial(settings.probe_batch, kinds, len(waiting))
        lost, won, same = seen[waiting].T
        ordered, differing = np.stack([won, same, lost], -1), np.stack([same, won + lost], -1)
        total = seen[waiting].sum(axis=1)
        shares = {metric: rules.alpha * share for metric, share in ALPHA_SHARES.items()}
        low = 2 * lower_bound(ordered, PAIRED, shares["accuracy"]) - 1
        high = 2 * upper_bound(ordered, PAIRED, rules.beta) - 1
        worse = is_worse("accuracy", (lost - won) / total, low, rules.max_accuracy_drop) | is_worse(
            "disagreement", 0.0, lower_bound(differing, BINARY, shares["disagreement"]), rules.max_disagreement
        )
        fine = is_no_worse(high, rules.max_accuracy_drop) & is_no_worse(
            upper_bound(differing, BINARY, rules.beta), rules.max_disagreement
        )
        outcome[waiting[worse]] = ROLLED_BACK
        going.append(waiting[fine & ~worse])
        waiting = waiting[~fine & ~worse]
    return np.sort(np.concatenate(going))


@dataclass(frozen=True)
class _Step:
    case: Case
    percent: int
    last: bool
    settings: RolloutSettings
    splits: list[npt.NDArray[np.float64]]
    """Evidence of a wrong split of traffic in the steps before."""

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
    for _ in range(LOOKS):
        ended.looks[alive] += here
        seen = period(step.case, step.percent / 100, RATE, ended.looks[alive], random)
        old, new = (count * here for count in seen.requests)
        ended.requests[alive] += new
        counted += old, new
        blocks = [Block(old, kind[0] * here, new, kind[1] * here) for kind in (seen.failed, seen.slow)]
        tests = [test.updated(block) for test, block in zip(tests, blocks, strict=True)]
        worse, fine, split = step.judge(tests, counted)
        fresh = (old > 0) & (new > 0)
        ended.outcome[alive[worse & here]] = ROLLED_BACK
        went |= fine & fresh & here
        here &= ~(worse | (fine & fresh))
        if not here.any():
            break
    if step.last:
        ended.outcome[alive[went]] = PROMOTED
    return went, tests, split


def rows(test: Comparison, chosen: npt.NDArray[np.generic]) -> Comparison:
    """The comparisons of some rollouts."""
    shared = ("harms", "effects", "assumed", "patience", "starts")
    return replace(test, **{f.name: getattr(test, f.name)[chosen] for f in fields(test) if f.name not in shared})
