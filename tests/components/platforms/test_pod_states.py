"""What the states of pods mean for a training, told by the objects that the Kubernetes client makes of them."""

import json

import pytest
from kubernetes import client

from slipway.components.errors import BadInput
from slipway.components.platforms.pod_states import PodJudge, bad_input, endings, without_node


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def pod(
    uid: str = "1", waiting: str | None = None, ended: tuple[int, str] | None = None, **status: object
) -> client.V1Pod:
    """A pod whose container waits for a reason, or ended before with an exit code and a message."""
    state = client.V1ContainerState(waiting=waiting and client.V1ContainerStateWaiting(reason=waiting, message="words"))
    last = client.V1ContainerState(
        terminated=ended and client.V1ContainerStateTerminated(exit_code=ended[0], message=ended[1], reason="Error")
    )
    container = client.V1ContainerStatus(
        name="pytorch", image="i", image_id="", ready=False, restart_count=0, state=state, last_state=last
    )
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name=f"pod-{uid}", uid=uid),
        status=client.V1PodStatus(container_statuses=[container], **status),
    )


def unschedulable() -> client.V1Pod:
    """A pod for which there is no node."""
    condition = client.V1PodCondition(
        type="PodScheduled", status="False", reason="Unschedulable", message="0/1 nodes are available"
    )
    return client.V1Pod(
        metadata=client.V1ObjectMeta(name="pod-1", uid="1"), status=client.V1PodStatus(conditions=[condition])
    )


def test_an_evicted_pod_is_reported_at_once() -> None:
    evicted = pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory")
    assert PodJudge().problem([evicted]) == "pod pod-1: Evicted: The node was low on resource: memory"


def test_an_image_is_given_time_although_its_two_reasons_take_turns() -> None:
    clock = Clock()
    judge = PodJudge(clock=clock)
    for clock.now, reason in enumerate(["ErrImagePull", "ImagePullBackOff"] * 10):
        assert judge.problem([pod(waiting=reason)]) is None
    clock.now = 20.0
    assert judge.problem([pod(waiting="ErrImagePull")]) == "pod pod-1: ErrImagePull: words"


def test_a_trouble_that_passed_counts_from_the_beginning_when_it_comes_back() -> None:
    clock = Clock()
    judge = PodJudge(clock=clock)
    assert judge.problem([pod(waiting="ErrImagePull")]) is None
    clock.now = 15.0
    assert judge.problem([pod()]) is None
    clock.now = 30.0
    assert judge.problem([pod(waiting="ErrImagePull")]) is None


def test_a_pod_may_wait_for_a_node_as_long_as_the_settings_say() -> None:
    clock = Clock()
    judge = PodJudge(unschedulable_s=300, clock=clock)
    assert judge.problem([unschedulable()]) is None
    clock.now = 299.0
    assert judge.problem([unschedulable()]) is None
    clock.now = 300.0
    assert judge.problem([unschedulable()]) == "pod pod-1: Unschedulable: 0/1 nodes are available"


def test_starting_pods_are_no_problem() -> None:
    assert PodJudge().problem([pod(waiting="ContainerCreating"), pod(waiting="PodInitializing")]) is None


def test_an_ending_is_told_in_the_container_s_words() -> None:
    assert endings([pod(ended=(1, "Traceback\nKeyError: 3\n"))]) == [
        "pod pod-1: Error, exit code 1: Traceback\nKeyError: 3"
    ]
    record = json.dumps({"kind": "SlipwayError", "message": "no checkpoint"})
    assert endings([pod(ended=(1, record))]) == ["pod pod-1: Error, exit code 1: SlipwayError: no checkpoint"]


@pytest.mark.parametrize(("kind", "found"), [("BadInput", True), ("SlipwayError", False), ("KeyError", False)])
def test_only_the_user_s_input_is_never_tried_again(kind: str, found: bool) -> None:
    error = bad_input([pod(ended=(1, json.dumps({"kind": kind, "message": "the encoder is absent"})))])
    assert isinstance(error, BadInput) is found


def test_a_pod_that_waits_for_a_node_says_why() -> None:
    assert without_node([pod(), unschedulable()]) == (
        "pod pod-1 waits for a node: Unschedulable: 0/1 nodes are available"
    )
    assert without_node([pod()]) == ""
