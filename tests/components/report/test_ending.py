"""What became of a run is told by what its steps left; only where they left nothing do its pods count."""

from typing import Any

import pytest

from slipway.components.kubeflow.pod_diagnosis import Diagnosis
from slipway.components.report.ending import explained
from slipway.components.report.outcome import Outcome, outcome_of
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.run_record import Failure, Record
from tests.components.step_results import check

REFUSED = {"evaluate": {"gate": {"passed": False, "checks": [check("macro-F1 0.4 below 0.7", passed=False)]}}}
DELIVERED = {"evaluate": {"gate": {"passed": True}}, "rollout": {"outcome": "promoted", "reason": "no worse"}}
DIED = Diagnosis("train", "out of memory (limit 8Gi)", ["loading the encoder", "Killed"], "slipway-x-123")


def event(step: str, kind: str, time: float = 1.0) -> Event:
    return Event(time=time, step=step, kind=kind)


def outcome(record: Record, diagnosis: Diagnosis | None = None, cancelled: bool = False) -> Outcome:
    return outcome_of(explained(record, diagnosis, cancelled))


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize(("results", "title"), [(REFUSED, "gate refused"), (DELIVERED, "delivered")])
def test_what_the_steps_said_counts_whatever_else_is_seen(results: dict[str, Any], title: str, cancelled: bool) -> None:
    assert outcome(Record(None, results, None, []), DIED, cancelled).title == title


def test_a_failure_in_the_steps_own_words_gets_the_pod_s_last_lines() -> None:
    failure = Failure(step="train", kind="RuntimeError", message="CUDA error", exit_code=1)
    found = explained(Record(None, {}, failure, []), DIED, cancelled=False)
    assert outcome_of(found).sentence == "train: CUDA error"
    assert found.failure
    assert found.failure.lines == DIED.lines


def test_bad_input_needs_no_log() -> None:
    failure = Failure(step="train", kind="BadInput", message="no such encoder", exit_code=2)
    assert explained(Record(None, {}, failure, []), DIED, cancelled=False).failure == failure


def test_a_pod_that_was_killed_is_named_although_it_could_not_say_so() -> None:
    found = outcome(Record(None, {"prepare_data": {}}, None, [event("train", "started")]), DIED)
    assert (found.title, found.exit_code) == ("failed", 1)
    assert "train: out of memory (limit 8Gi) (pod slipway-x-123)" in found.sentence


def test_a_step_that_ended_well_is_not_blamed_for_a_later_one() -> None:
    events = [event("preflight", "started"), event("preflight", "finished"), event("train", "started")]
    assert "train: the step ended without a word" in outcome(Record(None, {}, None, events)).sentence
    ended = Record(None, {}, None, events[:2])
    assert "a step could not start" in outcome(ended).sentence
    assert "preflight" not in outcome(ended).sentence


def test_a_run_that_somebody_ended_is_cancelled_and_says_what_was_taken_back() -> None:
    record = Record(None, {"prepare_data": {}}, None, [event("train", "started"), event("train", "progress", 2.0)])
    found = outcome_of(explained(record, None, True, ["PyTorchJob train-1 was removed"]))
    assert (found.title, found.exit_code) == ("cancelled", 6)
    assert found.sentence == "train: the run was cancelled while train was at work; PyTorchJob train-1 was removed"
