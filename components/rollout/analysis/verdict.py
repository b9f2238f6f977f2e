"""Derives the verdict from the readings, for the phases: go on, hold or roll back, with the reason as a sentence.

The margin of a metric is the harm from which a promotion would be wrong.

Roll back: harm is shown, and its estimate is nearer to the margin than to 0. That is, the lower bound is at least 0,
and the harm is above half the margin. Accuracy and agreement have stricter conditions, since they are properties of the
model and no accidents, and people set their margins knowing this. The estimate of the accuracy lost must be above the
margin itself, and the lower bound of the disagreement must be above its margin.

Disagreement on labelled texts decides nothing, since only the part of it that loses accuracy is harm. Disagreement on
clients' texts decides where a margin below 1 is set; else it is information.

Go on, in the last step: the upper bound of the harm is at most the margin, so the challenger is shown to be no worse,
margin apart. Harm between 0 and the margin is tolerable, and either verdict is right (Wald's zone of indifference).
For errors and slow answers the upper bound comes from the last step alone, since harm may come with load.

Go on, before the last step: the challenger is not refuted, and the step has its minimum of requests. This suffices,
since little traffic is at stake.

Hold: everything else, in particular missing, stale or contradictory data.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from slipway.components.rollout.analysis.evidence import Evidence
from slipway.components.rollout.analysis.readings import ALPHA_SHARES, Arm, Reading, read
from slipway.components.rollout.analysis.split import mismatch
from slipway.components.rollout.analysis.watch import harm_of

GUARD_REQUESTS = 20
"""Requests or texts that must all have failed to roll back without statistics."""
SHADOW, DISAGREEMENT = "shadow", "disagreement"
NEVER = 1.0
"""A margin that no harm exceeds: the metric is information."""


class Verdict(StrEnum):
    """What to do next."""

    GO_ON = "go on"
    HOLD = "hold"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Rules:
    """The margins, as shares from 0 to 1, and the error probabilities of the whole rollout."""

    max_error_rise: float
    max_slow_rise: float
    max_disagreement: float
    max_accuracy_drop: float
    alpha: float
    """Probability of rolling back a challenger that is no worse."""
    beta: float
    """Probability of promoting a challenger that is worse than a margin."""
    shadow_requests: int = 0
    """Copies of client requests that a verdict on them needs; with fewer, the agreement on probes decides."""

    @property
    def margins(self) -> dict[str, float]:
        """The margin of each metric."""
        return {
            "errors": self.max_error_rise,
            "slow": self.max_slow_rise,
            DISAGREEMENT: NEVER,
            "accuracy": self.max_accuracy_drop,
            SHADOW: self.max_disagreement,
        }


@dataclass(frozen=True)
class Stage:
    """The position of the rollout that the verdict depends on."""

    last: bool
    """Whether this is the last step."""
    requests: int
    """The challenger's requests in this step."""
    minimum: int
    """Requests that this step needs before the rollout goes on."""
    fresh: bool = True
    """Whether the last look found new answers of both revisions; if not, the counters may be stale."""


@dataclass(frozen=True)
class Judged:
    """A reading with its verdict and the sentence that explains it."""

    reading: Reading
    margin: float
    verdict: Verdict
    words: str


@dataclass(frozen=True)
class Analysis:
    """The verdict of the rollout at one moment."""

    verdict: Verdict
    reason: str
    metrics: dict[str, Judged]
    undecided: tuple[str, ...]
    """The metrics on hold; "requests" below the step's minimum, "split" and "stale" when counts cannot be trusted."""


def is_worse(metric: str, harm: npt.ArrayLike, lower: npt.ArrayLike, margin: float) -> npt.NDArray[np.bool_]:
    """Whether the verdict of a metric is to roll back; elementwise for arrays."""
    harm, lower = np.asarray(harm), np.asarray(lower)
    if metric in (DISAGREEMENT, SHADOW):
        return np.asarray(lower > margin)
    return np.asarray((lower >= 0) & (harm > (margin if metric == "accuracy" else margin / 2)))


def is_no_worse(upper: npt.ArrayLike, margin: float) -> npt.NDArray[np.bool_]:
    """Whether a metric allows a promotion; elementwise for arrays."""
    return np.asarray(np.asarray(upper) <= margin)


def analyse(evidence: Evidence, rules: Rules, stage: Stage) -> Analysis:
    """The verdict of all metrics together on the evidence so far."""
    metrics = {
        name: _judge(reading, rules, stage.last) for name, reading in read(evidence, rules.alpha, rules.beta).items()
    }
    worse = [judged.words for judged in metrics.values() if judged.verdict is Verdict.ROLL_BACK]
    if evidence.errors and evidence.watch.requests:
        alpha = rules.alpha * ALPHA_SHARES["watch"]
        worse += filter(None, [harm_of(evidence.watch, evidence.errors, rules.max_error_rise, alpha)])
    if guard := guard_reason(evidence):
        return Analysis(Verdict.ROLL_BACK, "; ".join([guard, *worse]), metrics, ())
    if worse:
        return Analysis(Verdict.ROLL_BACK, "; ".join(worse), metrics, ())
    on_hold = {name: judged.words for name, judged in metrics.items() if judged.verdict is Verdict.HOLD}
    on_hold |= _distrusted(evidence, rules, stage)
    if on_hold:
        return Analysis(Verdict.HOLD, "; ".join(on_hold.values()), metrics, tuple(on_hold))
    finding = "no worse than the champion, margins apart" if stage.last else "not worse than the champion so far"
    deciding = [name for name, judged in metrics.items() if judged.margin < NEVER]
    return Analysis(Verdict.GO_ON, f"{finding} on {', '.join(deciding)}", metrics, ())


def _distrusted(evidence: Evidence, rules: Rules, stage: Stage) -> dict[str, str]:
    """Reasons not to trust the counts, by name; empty when there are none."""
    reasons = {}
    if stage.requests < stage.minimum:
        reasons["requests"] = f"{stage.requests} of at least {stage.minimum} requests to the challenger in this step"
    if not stage.fresh:
        reasons["stale"] = "the last look brought no new answers of both revisions"
    if mismatch(evidence.splits) >= -math.log(rules.alpha * ALPHA_SHARES["split"]):
        step = evidence.splits[-1]
        reasons["split"] = (
            f"the traffic is not split as asked ({step.new} of {step.new + step.old} requests of this step came to the "
            f"challenger, asked for were {step.percent}%), so the counts cannot be trusted"
        )
    return reasons


def guard_reason(evidence: Evidence) -> str | None:
    """The reason to roll back at once, without statistics, or None."""
    pairs = evidence.pairs
    if evidence.failing >= GUARD_REQUESTS:
        return f"the last {evidence.failing} requests to the challenger all failed"
    if pairs.compared >= GUARD_REQUESTS and pairs.challenger_failed == pairs.compared:
        return f"the challenger answered none of {pairs.compared} probes that the champion answered"
    return None


def _judge(reading: Reading, rules: Rules, last: bool) -> Judged:
    margin = rules.margins[reading.metric]
    few = reading.metric == SHADOW and reading.total < rules.shadow_requests
    not_judged = reading.metric == SHADOW and (few or not rules.shadow_requests)
    if margin >= NEVER:
        return Judged(reading, margin, Verdict.GO_ON, f"{_facts(reading)}: for information")
    if reading.harm is None and not not_judged:
        verdict, conclusion = Verdict.HOLD, "no data"
    elif reading.harm is not None and is_worse(reading.metric, _highest(reading), reading.lower, margin):
        verdict, conclusion = Verdict.ROLL_BACK, "worse"
    elif not_judged:
        verdict, conclusion = Verdict.GO_ON, "too few for a verdict of their own"
    elif not last:
        verdict, conclusion = Verdict.GO_ON, "not worse so far"
    elif is_no_worse(reading.upper, margin):
        verdict, conclusion = Verdict.GO_ON, "no worse"
    else:
        verdict, conclusion = Verdict.HOLD, f"undecided, the harm may be up to {_points(reading.upper)}"
    return Judged(reading, margin, verdict, f"{_facts(reading)}; margin {_points(margin)}: {conclusion}")


def _highest(reading: Reading) -> float:
    """The higher estimate of all steps and of the present one, since a challenger may turn bad under more traffic."""
    return max(share for share in (reading.harm, reading.lately) if share is not None)


def _facts(reading: Reading) -> str:
    titles = {
        "slow": "slow answers",
        "disagreement": "disagreement",
        "accuracy": "wrong answers",
        SHADOW: "disagreement on clients' requests",
    }
    sides = [
        f"{who} {_side(arm)}"
        for who, arm in (("challenger", reading.challenger), ("champion", reading.champion))
        if arm is not None
    ]
    return f"{titles.get(reading.metric, reading.metric)}: {', '.join(sides) or 'nothing counted'}"


def _side(arm: Arm) -> str:
    return "0 of 0" if arm.rate is None else f"{arm.bad} of {arm.total} ({_points(arm.rate)})"


def _points(share: float) -> str:
    return f"{round(100 * share, 1):g}%"
