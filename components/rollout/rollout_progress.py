"""The progress of a rollout, for `slipway status` and its JSON."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from slipway.components.errors import BadInput
from slipway.components.rollout.state import Phase, Point, RolloutState, from_json


class MetricProgress(BaseModel):
    """The evidence so far on one metric. Harm and bounds are shares: 0.01 is one percentage point."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    metric: str
    """Name of the metric."""
    champion: float | None
    """Bad share of the champion; null where it is not known."""
    challenger: float | None
    """Bad share of the challenger; null where it is not known."""
    harm: float | None
    """Estimate of the harm; null without data."""
    lower: float
    """Lower bound of the harm."""
    upper: float
    """Upper bound of the harm."""
    margin: float
    """Harm that is accepted."""
    verdict: str
    """Verdict of this metric."""
    course: list[float]
    """The estimates so far, the newest last."""


class RolloutProgress(BaseModel):
    """Where a rollout that goes on, or is held, stands."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    version: str
    """Version of the challenger."""
    phase: Phase
    """The phase."""
    percent: int
    """The challenger's share of traffic."""
    requests: int
    """Requests to the challenger."""
    texts: int
    """Labelled texts that both revisions were sent."""
    copies: int
    """Copies of live requests that both revisions were sent."""
    seconds: float
    """Seconds since the rollout began, without the time in which no driver ran."""
    verdict: str | None
    """Verdict of all metrics together; null before the first look."""
    decision: str | None
    """Why the rollout ends; null until there is a decision."""
    evidence: list[MetricProgress]
    """The evidence by metric; empty before the first look."""


def progress_of(state: RolloutState) -> RolloutProgress:
    """The progress of a rollout, from its state."""
    last = state.timeline[-1] if state.timeline else None
    return RolloutProgress(
        version=state.revision.version,
        phase=state.phase,
        percent=last.percent if last and not state.paused else 0,
        requests=state.requests[0],
        texts=state.pairs.labelled,
        copies=state.copied,
        seconds=round(state.elapsed_s, 1),
        verdict=last.verdict if last else None,
        decision=state.decision.reason if state.decision else None,
        evidence=[_metric(state, last, metric) for metric in last.metrics] if last else [],
    )


def read_progress(document: dict[str, Any] | None, problems: list[str]) -> RolloutProgress | None:
    """The progress in a kept state; None without one.

    A state that cannot be read does not hide what is served: its problem is added to `problems`.
    """
    if not document:
        return None
    try:
        return progress_of(from_json(document))
    except BadInput as error:
        problems.append(str(error))
        return None


def _metric(state: RolloutState, last: Point, metric: str) -> MetricProgress:
    harm, lower, upper = last.metrics[metric]
    champion, challenger = last.rates.get(metric, (None, None))
    course = [point.metrics[metric][0] for point in state.timeline if metric in point.metrics]
    return MetricProgress(
        metric=metric,
        champion=champion,
        challenger=challenger,
        harm=harm,
        lower=lower,
        upper=upper,
        margin=state.margins.get(metric, 1.0),
        verdict=last.verdicts.get(metric, last.verdict),
        course=[value for value in course if value is not None],
    )
