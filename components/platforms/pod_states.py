"""What the states of a training's pods mean: which are broken for good, and what a pod says about its end."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from slipway.components import errors
from slipway.components.errors import BadInput, SlipwayError

BROKEN = {"InvalidImageName", "ErrImageNeverPull"}
"""Reasons of a waiting container that do not pass."""

SUSPICIOUS = {
    "ErrImagePull": "image",
    "ImagePullBackOff": "image",
    "ImageInspectError": "image",
    "RegistryUnavailable": "image",
    "CreateContainerConfigError": "configuration",
    "CreateContainerError": "container",
    "RunContainerError": "container",
}
"""Reasons that may pass by themselves, and what is wrong: some come in turn for the same cause."""

SUSPICION_SECONDS = 20.0
UNSCHEDULABLE_SECONDS = 300.0


class PodJudge:
    """Says why a pod cannot come to work, once that is sure; remembers since when it looks so.

    Args:
        unschedulable_s: how long a pod may wait for a node; a cluster that adds nodes on demand takes minutes.
        clock: seconds that only rise.
    """

    def __init__(
        self, unschedulable_s: float = UNSCHEDULABLE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.unschedulable_s, self.clock = unschedulable_s, clock
        self._since: dict[tuple[str, str], float] = {}

    def problem(self, pods: Iterable[Any]) -> str | None:
        """The first pod's reason, in its own words; None while there is hope. Pods are kubernetes `V1Pod`s."""
        seen: set[tuple[str, str]] = set()
        found = None
        for pod in pods:
            for cause, patience, words in symptoms(pod, self.unschedulable_s):
                key = (pod.metadata.uid, cause)
                seen.add(key)
                since = self._since.setdefault(key, self.clock())
                if self.clock() - since >= patience:
                    found = found or f"pod {pod.metadata.name}: {words}"
        self._since = {key: since for key, since in self._since.items() if key in seen}
        return found


def symptoms(pod: Any, unschedulable_s: float = UNSCHEDULABLE_SECONDS) -> Iterator[tuple[str, float, str]]:
    """What keeps a pod from work: cause, seconds for which it may last, and the pod's own words."""
    status = pod.status
    if status.phase == "Failed" and status.reason:
        yield status.reason, 0.0, _words(status.reason, status.message)
    if words := _unschedulable(pod):
        yield "schedule", unschedulable_s, words
    for container in [*(status.init_container_statuses or []), *(status.container_statuses or [])]:
        waiting = container.state.waiting if container.state else None
        if waiting and waiting.reason in BROKEN:
            yield waiting.reason, 0.0, _words(waiting.reason, waiting.message)
        elif waiting and waiting.reason in SUSPICIOUS:
            yield SUSPICIOUS[waiting.reason], SUSPICION_SECONDS, _words(waiting.reason, waiting.message)


def without_node(pods: Iterable[Any]) -> str:
    """Which pod waits for a node, and why in the scheduler's words; empty when none does."""
    return next(
        (f"pod {pod.metadata.name} waits for a node: {words}" for pod in pods if (words := _unschedulable(pod))), ""
    )


def _unschedulable(pod: Any) -> str | None:
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            return _words(condition.reason, condition.message)
    return None


def _words(reason: str, message: str | None) -> str:
    return f"{reason}: {message}" if message else reason


def endings(pods: Iterable[Any]) -> list[str]:
    """How each container that failed ended last: pod, reason, exit code and its message."""
    return [
        f"pod {name}: {ended.reason or 'Error'}, exit code {ended.exit_code}: {_message(ended.message)}"
        for name, _, ended in failed_containers(pods)
    ]


def bad_input(pods: Iterable[Any]) -> BadInput | None:
    """An error of the user's input that a container reported: to start it again would not help."""
    for *_, ended in failed_containers(pods):
        error = reported(ended.message)
        if isinstance(error, BadInput):
            return error
    return None


def reported(message: str | None) -> SlipwayError | None:
    """The error in the record that `slipway.components.train.remote` leaves as termination message."""
    try:
        record = json.loads(message or "")
        kind = getattr(errors, record["kind"], None)
        words = str(record["message"])
    except (ValueError, KeyError, TypeError):
        return None
    return kind(words) if isinstance(kind, type) and issubclass(kind, SlipwayError) else None


def failed_containers(pods: Iterable[Any]) -> Iterator[tuple[str, str, Any]]:
    """Pod, container and how that ended last, of each container that failed; init containers first."""
    for pod in pods:
        for container in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
            for state in (container.state, container.last_state):
                if state and state.terminated and state.terminated.exit_code:
                    yield pod.metadata.name, container.name, state.terminated
                    break


def _message(message: str | None) -> str:
    try:
        record = json.loads(message or "")
        return f"{record['kind']}: {record['message']}"
    except (ValueError, KeyError, TypeError):
        return (message or "no message").strip()
