"""What became of a run of pods whose steps could not tell it themselves: killed, never started, or cancelled.

The steps' own words (a result, a refusal, a failure) always count for more than what an engine says of the run.
Kubeflow Pipelines calls a run whose gate refused RUNNING, and one that ended well COMPLETE or SUCCEEDED.
"""

from collections.abc import Sequence
from typing import Any

from slipway.components.errors import Cancelled, SlipwayError
from slipway.components.evaluate.result import GateResult
from slipway.components.kubeflow.pod_diagnosis import Diagnosis
from slipway.components.step_runtime.run_record import Record


def is_told(record: Record) -> bool:
    """Whether the steps left how the run ended."""
    evaluation = GateResult.found_in(record.results)
    return bool(record.failure or "rollout" in record.results or (evaluation and not evaluation.gate.passed))


def explained(record: Record, diagnosis: Diagnosis | None, cancelled: bool, undone: Sequence[str] = ()) -> Record:
    """The record of a run that ended, with a failure also when no step could tell why.

    Args:
        record: of the run.
        diagnosis: what its pods died of, as far as that can be seen.
        cancelled: whether somebody ended the run.
        undone: what was taken back since, a sentence each.
    """
    if record.failure and diagnosis and record.failure["exit_code"] == SlipwayError.exit_code:
        return record._replace(failure=record.failure | {"lines": diagnosis.lines, "pod": diagnosis.pod})
    if is_told(record):
        return record
    return record._replace(failure=_cancelled(record, undone) if cancelled else _untold(record, diagnosis))


def _cancelled(record: Record, undone: Sequence[str]) -> dict[str, Any]:
    where = f"while {step} was at work" if (step := _open_step(record)) else "before a step began"
    words = "; ".join([f"the run was cancelled {where}", *undone])
    return {"step": step or "run", "kind": Cancelled.__name__, "message": words, "exit_code": Cancelled.exit_code}


def _untold(record: Record, diagnosis: Diagnosis | None) -> dict[str, Any]:
    failure = {"kind": SlipwayError.__name__, "exit_code": SlipwayError.exit_code}
    if diagnosis:
        words = f"{diagnosis.cause} (pod {diagnosis.pod})"
        step = "select_model" if diagnosis.task == "cross_validate" else diagnosis.task
        return failure | {"step": step, "message": words, "lines": diagnosis.lines, "pod": diagnosis.pod}
    step = _open_step(record)
    words = "the step ended without a word; its pod says more" if step else "a step could not start; see the run's pods"
    return failure | {"step": step or "run", "message": words}


def _open_step(record: Record) -> str:
    """The step that began last and did not end."""
    state: dict[str, str] = {}
    for event in record.events:
        if event["kind"] == "part":  # others may be at work still
            continue
        state.pop(event["step"], None)
        state[event["step"]] = event["kind"]
    going = [step for step, kind in state.items() if kind in ("started", "progress")]
    return going[-1] if going else ""
