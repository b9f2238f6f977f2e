"""How long a job may wait, and what is told meanwhile."""

import pytest

from slipway.components.errors import SlipwayError
from slipway.components.train.patience import Patience

HELD = "waits in queue q: 100m more needed"


class Job:
    """A job that looks as the test says, at the second that the test says."""

    def __init__(self, deadline_s: float = 600) -> None:
        self.now = 0.0
        self.patience = Patience("PyTorchJob n/x", deadline_s, lambda: self.now)

    def looks(self, now: float, why_held: str = "", pods: bool = False, without_node: str = "") -> None:
        self.now = now
        self.patience.check(why_held, pods, without_node)


def test_an_operator_that_makes_no_pods_is_told() -> None:
    job = Job()
    job.looks(50)
    with pytest.raises(SlipwayError, match="n/x has had no pods for 50 s; see whether the training operator runs"):
        job.looks(51)


def test_a_pod_that_is_replaced_after_a_long_time_is_no_missing_operator() -> None:
    job = Job()
    job.looks(500, pods=True)
    job.looks(503)
    job.looks(506, pods=True)


def test_the_time_for_the_operator_begins_when_a_held_job_may_start() -> None:
    job = Job()
    job.looks(1, HELD)
    job.looks(500, HELD)
    job.looks(549)
    with pytest.raises(SlipwayError, match="no pods"):
        job.looks(551)


def test_a_held_job_waits_until_the_deadline_and_then_has_as_much_time_to_work() -> None:
    job = Job(deadline_s=600)
    job.looks(1, HELD)
    job.looks(601, HELD)
    job.looks(602, pods=True)
    job.looks(1202, pods=True)
    with pytest.raises(SlipwayError, match="n/x is not done; a new run goes on from the last checkpoint .*600 s"):
        job.looks(1203, pods=True)


def test_a_held_job_is_given_up_with_the_words_of_its_queue() -> None:
    job = Job(deadline_s=600)
    job.looks(1, HELD)
    with pytest.raises(SlipwayError, match=r"n/x waits in queue q: 100m more needed \(after cluster.deadline_s, 600"):
        job.looks(602, HELD)


def test_a_wait_is_told_when_its_words_change_and_each_minute(told: list[str]) -> None:
    job = Job()
    job.looks(0, HELD)
    job.looks(3, HELD)
    job.looks(9, "waits in queue q: 50m more needed")
    job.looks(60, "waits in queue q: 50m more needed")
    job.looks(69, "waits in queue q: 50m more needed")
    job.looks(70)
    job.looks(73, pods=True, without_node="pod x waits for a node: none")
    job.looks(80, pods=True)
    assert told == [
        "PyTorchJob n/x waits in queue q: 100m more needed",
        "PyTorchJob n/x waits in queue q: 50m more needed",
        "PyTorchJob n/x waits in queue q: 50m more needed (for 69 s)",
        "PyTorchJob n/x may start, after 70 s",
        "pod x waits for a node: none",
    ]
