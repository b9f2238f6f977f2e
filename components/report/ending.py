"""How a run of pods ended whose steps could not record it: they were killed, cancelled, or never started.

What the steps recorded (a result, a refusal, a failure) always takes precedence over the state in Kubeflow Pipelines,
where a run whose gate refused may be RUNNING, and one that succeeded COMPLETE or SUCCEEDED.
"""

from collections.abc import Sequence

from slipway.components.errors import Cancelled, SlipwayError
from slipway.components.evaluate.result import GateResult
from slipway.components.kubeflow.pod_diagnosis import Diagnosis
from slipway.components.step_runtime.run_record import Failure, Record


def is_told(record: Record) -> bool:
    """Whether the steps recorded how the run ended."""
    evaluation = GateResult.found_in(record.results)
    return bool(record.failure or "rollout" in record.results or (evaluation and not evaluation.gate.passed))


def explained(record: Record, diagnosis: Diagnosis | None, cancelled: bool, undone: Sequence[str] = ()) -> Record:
    """The record of a run that ended, with a failure if no step recorded the end of the run.

    Args:
        record: of the run.
        diagnosis: why its pods failed, if that is known.
        cancelled: whether a user terminated the run.
        undone: what was cleaned up since then, one sentence each.
    """
    if record.failure and diagnosis and record.failure.exit_code == SlipwayError.exit_code:
        said = {"lines": diagnosis.lines, "pod": diagnosis.pod}
        return record._replace(failure=record.failure.model_copy(update=said))
    if is_told(record):
        return record
    return record._replace(failure=_cancelled(record, undone) if cancelled else _unexplained(record, diagnosis))


def _cancelled(record: Record, undone: Sequence[str]) -> Failure:
    when = f"while {step} was at work" if (step := _open_step(record)) else "before a step began"
    message = "; ".join([f"the run was cancelled {when}", *undone])
    return Failure(step=step or "run", kind=Cancelled.__name__, message=message, exit_code=Cancelled.exit_code)


def _unexplained(record: Record, diagnosis: Diagnosis | None) -> Failure:
    kind, exit_code = SlipwayError.__name__, SlipwayError.exit_code
    if diagnosis:
        message = f"{diagnosis.cause} (pod {diagnosis.pod})"
        step = "select_model" if diagnosis.task == "cross_validate" else diagnosis.task
        return Failure(
            step=step, kind=kind, message=message, exit_code=exit_code, lines=diagnosis.lines, pod=diagnosis.pod
        )
    step = _open_step(record)
    message = (
        "the step ended without a word; its pod says more" if step else "a step could not start; see the run's pods"
    )
    return Failure(step=step or "run", kind=kind, message=message, exit_code=exit_code)


def _open_step(record: Record) -> str:
    """The step that started last and did not end; empty when there is none."""
    state: dict[str, str] = {}
    for event in record.events:
        if event.kind == "part":  # other parts of the step may still run
            continue
        state.pop(event.step, None)  # a dict keeps the order of insertion: the step moves to the end
        state[event.step] = event.kind
    open_steps = [step for step, kind in state.items() if kind in ("started", "progress")]
    return open_steps[-1] if open_steps else ""
