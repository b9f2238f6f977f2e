"""What the step rollout returns: plain JSON with all that the report and a person need."""

import math
from dataclasses import asdict
from typing import Any

from slipway.components.rollout.analysis.readings import Arm
from slipway.components.rollout.analysis.verdict import Stage, analyse
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.state import Decision, RolloutState
from slipway.components.rollout.target import Histogram, Revision


def already_champion(revision: Revision) -> dict[str, Any]:
    """The result when the revision serves already."""
    return {
        "outcome": "already_champion",
        "reason": f"version {revision.version} serves all traffic already",
        "version": revision.version,
        "digest": revision.digest,
        "champion": revision.version,
        "serving": revision.version,
    }


def result(state: RolloutState, decision: Decision, settings: RolloutSettings) -> dict[str, Any]:
    """The result of a rollout that ended or is held.

    Keys: outcome, reason, version, digest, champion (version before, or null), serving (version after, or null),
    seconds, resumed, requests {challenger, champion, clients, probes, and errors and abandoned of both},
    compared texts and failures, baseline_p95_ms, slow_ms, p95_ms of both, periods, timeline, metrics, settings.
    """
    challenger, champion = state.counts(state.revision), state.counts(state.champion)
    before = state.champion.version if state.champion else None
    latencies = {"champion": champion.latencies, "challenger": challenger.latencies}
    return {
        "outcome": decision.outcome,
        "reason": decision.reason,
        "version": state.revision.version,
        "digest": state.revision.digest,
        "champion": before,
        "serving": state.revision.version if decision.outcome == "promoted" else before,
        "seconds": round(state.elapsed_s, 1),
        "resumed": state.resumed,
        "requests": {
            "challenger": challenger.requests,
            "champion": champion.requests,
            "clients": state.clients,
            "probes": state.probes,
            "challenger_errors": challenger.errors,
            "champion_errors": champion.errors,
            "challenger_abandoned": challenger.abandoned,
            "champion_abandoned": champion.abandoned,
            "copied": state.copied,
            "sticky": state.sticky,
        },
        "compared": asdict(state.pairs),
        "baseline_p95_ms": _p95(state.baseline) if state.baseline else None,
        "slow_ms": state.slow_ms,
        "p95_ms": {name: _p95(found) for name, found in latencies.items()},
        "periods": [asdict(period) for period in state.periods],
        "timeline": [asdict(point) for point in state.timeline],
        "metrics": _metrics(state, settings),
        "settings": settings.model_dump(),
    }


def _metrics(state: RolloutState, settings: RolloutSettings) -> dict[str, Any]:
    """Each metric as it stood at the end; empty for a first version."""
    if state.champion is None:
        return {}
    analysis = analyse(state.evidence, settings.rules(), Stage(last=True, requests=0, minimum=0))
    return {
        name: {
            "champion": _arm(judged.reading.champion),
            "challenger": _arm(judged.reading.challenger),
            "harm": judged.reading.harm,
            "lower": judged.reading.lower,
            "upper": judged.reading.upper,
            "margin": judged.margin,
            "verdict": judged.verdict.value,
            "words": judged.words,
        }
        for name, judged in analysis.metrics.items()
        if name != "shadow" or judged.reading.total
    }


def _p95(latencies: Histogram) -> float | None:
    """None where it is not known or beyond the last bucket (JSON has no infinity)."""
    found = latencies.quantile(0.95) if latencies.total else math.inf
    return found if math.isfinite(found) else None


def _arm(arm: Arm | None) -> dict[str, Any] | None:
    return asdict(arm) if arm else None
