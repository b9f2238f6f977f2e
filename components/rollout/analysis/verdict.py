"""From readings to a verdict: go on, hold or roll back, with the reason in plain words.

A metric says roll back when it is shown to be worse and the best estimate is beyond the margin: the lower bound of
the harm is above 0 and the harm is above the margin. (Two good models may disagree now and then, so for
disagreement the lower bound itself must be above the margin.) It says go on, in the last step, when the upper bound
of the harm is at most the margin: the challenger is shown to be no worse, margin apart. Before the last step it
is enough that it is not refuted and that the step has seen its minimum of requests, since little traffic
is at stake. Everything else is hold, missing data above all.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from components.rollout.analysis.evidence import Evidence
from components.rollout.analysis.readings import Arm, Reading, read

GUARD_REQUESTS = 20


class Verdict(StrEnum):
    """What to do next."""

    GO_ON = "go on"
    HOLD = "hold"
    ROLL_BACK = "roll back"


@dataclass(frozen=True)
class Rules:
    """The margins, as shares from 0 to 1, and the error probability of the whole rollout."""

    max_error_rise: float
    max_slow_rise: float
    max_disagreement: float
    max_accuracy_drop: float
    alpha: float

    @property
    def margins(self) -> dict[str, float]:
        """The margin of each metric."""
        return {
            "errors": self.max_error_rise,
            "slow": self.max_slow_rise,
            "disagreement": self.max_disagreement,
            "accuracy": self.max_accuracy_drop,
        }


@dataclass(frozen=True)
class Stage:
    """Where the rollout stands: whether this is its last step, and the challenger's requests in this step."""

    last: bool
    requests: int
    minimum: int


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
    """The metrics on hold; "requests" when the step has not seen its minimum."""


def is_worse(metric: str, harm: npt.ArrayLike, lower: npt.ArrayLike, margin: float) -> npt.NDArray[np.bool_]:
    """Whether a metric says roll back; elementwise for arrays."""
    bar = margin if metric == "disagreement" else 0.0
    return np.asarray((np.asarray(lower) > bar) & (np.asarray(harm) > margin))


def analyse(evidence: Evidence, rules: Rules, stage: Stage) -> Analysis:
    """Judge all evidence so far."""
    margins = rules.margins
    metrics = {
        name: _judge(reading, margins[name], rules.alpha, stage.last)
        for name, reading in read(evidence, rules.alpha).items()
    }
    worse = [judged.words for judged in metrics.values() if judged.verdict is Verdict.ROLL_BACK]
    if guard := guard_reason(evidence):
        return Analysis(Verdict.ROLL_BACK, "; ".join([guard, *worse]), metrics, ())
    if worse:
        return Analysis(Verdict.ROLL_BACK, "; ".join(worse), metrics, ())
    undecided = [name for name, judged in metrics.items() if judged.verdict is Verdict.HOLD]
    reasons = [metrics[name].words for name in undecided]
    if stage.requests < stage.minimum:
        undecided.append("requests")
        reasons.append(f"{stage.requests} of at least {stage.minimum} requests to the challenger in this step")
    if undecided:
        return Analysis(Verdict.HOLD, "; ".join(reasons), metrics, tuple(undecided))
    shown = "no worse than the champion, margins apart" if stage.last else "not worse than the champion so far"
    return Analysis(Verdict.GO_ON, f"{shown} on {', '.join(metrics)}", metrics, ())


def guard_reason(evidence: Evidence) -> str | None:
    """Why to roll back at once whatever the statistics say, or None."""
    requests, pairs = evidence.challenger, evidence.pairs
    if requests.requests >= GUARD_REQUESTS and requests.errors == requests.requests:
        return f"all {requests.requests} requests to the challenger failed"
    if pairs.compared >= GUARD_REQUESTS and pairs.challenger_failed == pairs.compared:
        return f"the challenger answered none of {pairs.compared} probes that the champion answered"
    return None


def _judge(reading: Reading, margin: float, alpha: float, last: bool) -> Judged:
    if reading.harm is None:
        verdict, said = Verdict.HOLD, "no data"
    elif is_worse(reading.metric, reading.harm, reading.lower, margin):
        verdict, said = Verdict.ROLL_BACK, "worse"
    elif not last:
        verdict, said = Verdict.GO_ON, "not worse so far"
    elif reading.upper <= margin:
        verdict, said = Verdict.GO_ON, "no worse"
    else:
        verdict, said = Verdict.HOLD, f"undecided, the harm may be up to {_points(reading.upper)}"
    return Judged(reading, margin, verdict, f"{_facts(reading, alpha)}; margin {_points(margin)}: {said}")


def _facts(reading: Reading, alpha: float) -> str:
    names = {"slow": "slow answers", "disagreement": "disagreement", "accuracy": "wrong answers"}
    sides = [
        f"{who} {_side(arm, alpha)}"
        for who, arm in (("challenger", reading.challenger), ("champion", reading.champion))
        if arm is not None
    ]
    return f"{names.get(reading.metric, reading.metric)}: {', '.join(sides)}"


def _side(arm: Arm, alpha: float) -> str:
    if arm.rate is None:
        return "0 of 0"
    sequence = f"{100 * (1 - alpha):g}% CS {100 * arm.low:.0f}–{100 * arm.high:.0f}%"
    return f"{arm.bad} of {arm.total} ({_points(arm.rate)}, {sequence})"


def _points(share: float) -> str:
    return f"{round(100 * share, 1):g}%"
