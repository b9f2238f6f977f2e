"""How a run ended, from its record: a sentence for people and an exit code for scripts."""

from dataclasses import dataclass

from slipway.components.errors import BadInput, Cancelled, GateRefused, RolledBack, RolloutHeld, SlipwayError
from slipway.components.evaluate.result import GateResult
from slipway.components.rollout.result import RolloutEnd
from slipway.components.step_runtime.html import Tone
from slipway.components.step_runtime.run_record import Record


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    title: str
    """A few words: delivered, gate refused, rolled back, held, bad input, cancelled, failed."""
    sentence: str
    exit_code: int
    tone: Tone


def outcome_of(record: Record) -> Outcome:
    """The outcome of a run that ended, from its record."""
    if record.failure:
        failure = record.failure
        title = {BadInput.exit_code: "bad input", Cancelled.exit_code: "cancelled"}.get(failure.exit_code, "failed")
        tone: Tone = "neutral" if title == "cancelled" else "bad"
        return Outcome(title, f"{failure.step}: {failure.message}", failure.exit_code, tone)
    evaluation = GateResult.found_in(record.results)
    if evaluation and not evaluation.gate.passed:
        reasons = "; ".join(evaluation.gate.failures)
        return Outcome("gate refused", f"Nothing was registered: {reasons}", GateRefused.exit_code, "bad")
    if rollout := RolloutEnd.found_in(record.results):
        return _of_rollout(rollout)
    return Outcome("failed", "the run ended before the rollout; see the logs", SlipwayError.exit_code, "bad")


def _of_rollout(rollout: RolloutEnd) -> Outcome:
    match rollout.outcome:
        case "promoted" | "already_champion":
            return Outcome("delivered", rollout.reason, 0, "good")
        case "rolled_back":
            return Outcome("rolled back", rollout.reason, RolledBack.exit_code, "bad")
        case _:
            return Outcome("held", rollout.reason, RolloutHeld.exit_code, "neutral")
