"""Builds the result of a rollout from its state, for the driver."""

import math

from slipway.components.rollout.analysis.verdict import Stage, analyse
from slipway.components.rollout.result import LatencyPercentiles, MetricResult, RequestCounts, RolloutResult
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.state import Decision, RolloutState
from slipway.components.rollout.target import Histogram, Revision


def already_champion(revision: Revision) -> RolloutResult:
    """The result for a revision that is the champion already."""
    return RolloutResult(
        outcome="already_champion",
        reason=f"version {revision.version} serves all traffic already",
        version=revision.version,
        digest=revision.digest,
        champion=revision.version,
        serving=revision.version,
    )


def result_of(state: RolloutState, decision: Decision, settings: RolloutSettings) -> RolloutResult:
    """The result of a rollout that ended or is held."""
    challenger, champion = state.counts(state.revision), state.counts(state.champion)
    before = state.champion.version if state.champion else None
    return RolloutResult(
        outcome=decision.outcome,
        reason=decision.reason,
        version=state.revision.version,
        digest=state.revision.digest,
        champion=before,
        serving=state.revision.version if decision.outcome == "promoted" else before,
        seconds=round(state.elapsed_s, 1),
        resumed=state.resumed,
        requests=RequestCounts(
            challenger=challenger.requests,
            champion=champion.requests,
            clients=state.clients,
            probes=state.probes,
            challenger_errors=challenger.errors,
            champion_errors=champion.errors,
            challenger_abandoned=challenger.abandoned,
            champion_abandoned=champion.abandoned,
            copied=state.copied,
            sticky=state.sticky,
        ),
        compared=state.pairs,
        baseline_p95_ms=_p95(state.baseline) if state.baseline else None,
        slow_ms=state.slow_ms,
        p95_ms=LatencyPercentiles(champion=_p95(champion.latencies), challenger=_p95(challenger.latencies)),
        periods=state.periods,
        timeline=state.timeline,
        metrics=_metrics(state, settings),
        settings=settings.model_dump(),
    )


def _metrics(state: RolloutState, settings: RolloutSettings) -> dict[str, MetricResult]:
    """Each metric at the end of the rollout; empty for a first version, which was compared with nothing."""
    if state.champion is None:
        return {}
    analysis = analyse(state.evidence, settings.rules(), Stage(last=True, requests=0, minimum=0))
    return {
        name: MetricResult(
            champion=judged.reading.champion,
            challenger=judged.reading.challenger,
            harm=judged.reading.harm,
            lower=judged.reading.lower,
            upper=judged.reading.upper,
            margin=judged.margin,
            verdict=judged.verdict.value,
            words=judged.words,
        )
        for name, judged in analysis.metrics.items()
        if name != "shadow" or judged.reading.total
    }


def _p95(latencies: Histogram) -> float | None:
    """The 95th percentile in ms; None when it is unknown or above the last bound, since JSON has no infinity."""
    percentile = latencies.quantile(0.95) if latencies.total else math.inf
    return percentile if math.isfinite(percentile) else None
