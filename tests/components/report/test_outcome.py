"""How a run ended is told from its record: a title, a sentence and a distinct exit code."""

from typing import Any

import pytest

from slipway.components.report.outcome import outcome_of
from slipway.components.report.timing import step_times
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.run_record import Failure, Record
from tests.components.step_results import check

PASSED = {"gate": {"passed": True, "checks": []}}


def record(results: dict[str, Any], failure: Failure | None = None) -> Record:
    return Record(None, results, failure, [])


@pytest.mark.parametrize(
    ("outcome", "title", "code"),
    [
        ("promoted", "delivered", 0),
        ("already_champion", "delivered", 0),
        ("rolled_back", "rolled back", 4),
        ("held", "held", 5),
    ],
)
def test_a_rollout_decides_how_the_run_ended(outcome: str, title: str, code: int) -> None:
    found = outcome_of(record({"evaluate": PASSED, "rollout": {"outcome": outcome, "reason": "because"}}))
    assert (found.title, found.sentence, found.exit_code) == (title, "because", code)


def test_a_refused_gate_tells_the_failed_checks_only() -> None:
    checks = [check("calibration fine", passed=True), check("macro-F1 0.4 below 0.7", passed=False)]
    found = outcome_of(record({"evaluate": {"gate": {"passed": False, "checks": checks}}}))
    assert found.exit_code == 3
    assert "macro-F1 0.4 below 0.7" in found.sentence
    assert "calibration" not in found.sentence


@pytest.mark.parametrize(("code", "title"), [(2, "bad input"), (1, "failed")])
def test_a_failed_step_is_named(code: int, title: str) -> None:
    failure = Failure(step="train", kind="BadInput", message="no such encoder", exit_code=code)
    found = outcome_of(record({}, failure))
    assert (found.title, found.sentence, found.exit_code) == (title, "train: no such encoder", code)


def test_a_run_that_was_cut_off_failed() -> None:
    assert outcome_of(record({"evaluate": PASSED})).exit_code == 1


def test_steps_have_times_and_skipped_ones_are_unchanged() -> None:
    events = [
        Event(time=10.0, step="preflight", kind="started"),
        Event(time=12.0, step="train", kind="started"),
        Event(time=15.5, step="train", kind="finished"),
    ]
    times = {time.step: time for time in step_times(events, {"prepare_data": {}, "train": {}})}
    assert times["prepare_data"].state == "unchanged"
    assert (times["train"].state, times["train"].seconds, times["train"].start) == ("done", 3.5, 2.0)
    assert times["rollout"].state == "not reached"
