"""The closing step of a run of pods: what is left at work is ended when the run was cut off, and only then."""

from typing import Any

import pytest

from slipway.components.errors import SlipwayError
from slipway.components.kubeflow import pod_diagnosis
from slipway.components.report.aftermath import settled
from slipway.components.report.outcome import Outcome, outcome_of
from slipway.components.rollout.kserve import cancelled as rollouts
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.run_record import Failure, Record
from slipway.components.step_runtime.step_result import Json
from slipway.components.train import cancel
from tests.components import step_results

RUN = "run-7"
ASKED: Json = {"model_name": "m", "settings": {"tracking_uri": "sqlite://", "cluster": {"namespace": "ml"}}}
REGISTERED = step_results.register() | {"version": "3"}
BEGAN = [Event(time=10.0, step=step, kind="started") for step in ("train", "rollout")]


class Acts:
    """What is asked of the cluster, which is not here."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.error: SlipwayError | None = None
        self.terminated = True
        monkeypatch.setenv("KFP_NAMESPACE", "kubeflow")
        monkeypatch.setattr(pod_diagnosis, "diagnose", lambda *_: None)
        monkeypatch.setattr(pod_diagnosis, "cancelled", lambda *_: self.terminated)
        monkeypatch.setattr(pod_diagnosis, "created", lambda *_: 1.0)
        monkeypatch.setattr(cancel, "remove_jobs_of", self._remove)
        monkeypatch.setattr(rollouts, "take_back", self._take_back)

    def _remove(self, run: str, namespace: str) -> list[str]:
        self.done.append(f"remove jobs of {run} in {namespace}")
        if self.error:
            raise self.error
        return ["train-1"]

    def _take_back(self, name: str, cluster: Any, _: Any, version: str) -> str:
        self.done.append(f"take back {name} {version} in {cluster.namespace}")
        return "version 3 had 10 % of the traffic and was rolled back"

    def settle(self, results: dict[str, Any], failure: Failure | None = None) -> Outcome:
        return outcome_of(settled(Record(None, results, failure, BEGAN), RUN))


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> Acts:
    return Acts(monkeypatch)


def test_a_cancelled_training_is_ended(acts: Acts) -> None:
    outcome = acts.settle({"preflight": ASKED})
    assert acts.done == ["remove jobs of run-7 in ml"]
    assert outcome.title == "cancelled"
    assert "PyTorchJob train-1 was removed; its checkpoints stay" in outcome.sentence


def test_a_cancelled_canary_is_taken_back(acts: Acts) -> None:
    outcome = acts.settle({"preflight": ASKED, "train": {}, "register": REGISTERED})
    assert acts.done == ["take back m 3 in ml"]
    assert "version 3 had 10 % of the traffic and was rolled back" in outcome.sentence


def test_a_run_that_fell_apart_leaves_nothing_at_work_either(acts: Acts) -> None:
    acts.terminated = False
    outcome = acts.settle({"preflight": ASKED})
    assert acts.done == ["remove jobs of run-7 in ml"]
    assert outcome.title == "failed"


@pytest.mark.parametrize(
    "results",
    [
        {"rollout": {"outcome": "promoted", "reason": "no worse"}},
        {"evaluate": {"gate": {"passed": False, "checks": []}}},
    ],
)
def test_a_run_that_ended_by_itself_is_left_alone(acts: Acts, results: dict[str, Any]) -> None:
    acts.settle({"preflight": ASKED} | results)
    assert acts.done == []


def test_a_run_that_never_came_past_its_first_task_has_left_nothing(acts: Acts) -> None:
    failure = Failure(step="preflight", kind="BadInput", message="no store", exit_code=2)
    assert acts.settle({}, failure).title == "bad input"
    assert acts.done == []


def test_what_cannot_be_undone_is_told_and_keeps_the_page_from_nothing(acts: Acts) -> None:
    acts.error = SlipwayError("the cluster is away")
    outcome = acts.settle({"preflight": ASKED, "register": REGISTERED})
    assert acts.done == ["remove jobs of run-7 in ml", "take back m 3 in ml"]
    assert "the cluster is away; version 3 had 10 %" in outcome.sentence


def test_on_this_machine_the_command_itself_ends_what_it_started(acts: Acts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KFP_NAMESPACE")
    record = Record(None, {"preflight": ASKED}, None, BEGAN)
    assert settled(record, RUN) == record
    assert acts.done == []


@pytest.mark.usefixtures("acts")
def test_the_time_of_the_whole_run_has_what_lies_before_the_first_step() -> None:
    record = settled(Record(None, {"preflight": ASKED}, None, BEGAN), RUN)
    assert min(event.time for event in record.events) == 1.0
