"""Interprets the states of pods: whether a pod can still start, and how its containers ended."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from slipway.components import errors
from slipway.components.errors import BadInput, SlipwayError

BROKEN = {"InvalidImageName", "ErrImageNeverPull"}
"""Reasons of a waiting container that are permanent."""

SUSPICIOUS = {
    "ErrImagePull": "image",
    "ImagePullBackOff": "image",
    "ImageInspectError": "image",
    "RegistryUnavailable": "image",
    "CreateContainerConfigError": "configuration",
    "CreateContainerError": "container",
    "RunContainerError": "container",
}
"""Reasons of a waiting container that may be temporary, with their cause. Some alternate for the same cause."""

SUSPICION_SECONDS = 20.0
"""How long such a cause may last."""
UNSCHEDULABLE_SECONDS = 300.0
"""How long a pod may wait for a node. A cluster that adds nodes on demand takes minutes."""


class PodJudge:
    """Finds pods that cannot start. It remembers how long each symptom has lasted, so use one object for a wait.

    Args:
        unschedulable_s: how long a pod may wait for a node, seconds.
        clock: a monotonic clock, seconds.
    """

    def __init__(
        self, unschedulable_s: float = UNSCHEDULABLE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.unschedulable_s, self.clock = unschedulable_s, clock
        self._since: dict[tuple[str, str], float] = {}

    def problem(self, pods: Iterable[Any]) -> str | None:
        """Why a pod cannot start, in the words of Kubernetes; None while all may still start.

        Args:
            pods: kubernetes `V1Pod`s. If several cannot start, the first one is reported.
        """
        present: set[tuple[str, str]] = set()
        problem = None
        for pod in pods:
            for cause, patience, explanation in symptoms(pod, self.unschedulable_s):
                key = (pod.metadata.uid, cause)
                present.add(key)
                since = self._since.setdefault(key, self.clock())
                if self.clock() - since >= patience:
                    problem = problem or f"pod {pod.metadata.name}: {explanation}"
        self._since = {key: since for key, since in self._since.items() if key in present}
        return problem


def symptoms(pod: Any, unschedulable_s: float = UNSCHEDULABLE_SECONDS) -> Iterator[tuple[str, float, str]]:
    """What keeps a pod from starting: the cause, how many seconds it may last, and Kubernetes' explanation."""
    status = pod.status
    if status.phase == "Failed" and status.reason:
        yield status.reason, 0.0, _explanation(status.reason, status.message)
    if explanation := _unschedulable(pod):
        yield "schedule", unschedulable_s, explanation
    for container in [*(status.init_container_statuses or []), *(status.container_statuses or [])]:
        waiting = container.state.waiting if container.state else None
        if waiting and waiting.reason in BROKEN:
            yield waiting.reason, 0.0, _explanation(waiting.reason, waiting.message)
        elif waiting and waiting.reason in SUSPICIOUS:
            yield SUSPICIOUS[waiting.reason], SUSPICION_SECONDS, _explanation(waiting.reason, waiting.message)


def without_node(pods: Iterable[Any]) -> str:
    """The first pod that waits for a node, and why, in the scheduler's words; empty if none waits."""
    waiting = ((pod, explanation) for pod in pods if (explanation := _unschedulable(pod)))
    return next((f"pod {pod.metadata.name} waits for a node: {explanation}" for pod, explanation in waiting), "")


def _unschedulable(pod: Any) -> str | None:
    for condition in pod.status.conditions or []:
        if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
            return _explanation(condition.reason, condition.message)
    return None


def _explanation(reason: str, message: str | None) -> str:
    return f"{reason}: {message}" if message else reason


def endings(pods: Iterable[Any]) -> list[str]:
    """A line for each failed container, with pod, reason, exit code and termination message."""
    return [
        f"pod {name}: {ended.reason or 'Error'}, exit code {ended.exit_code}: {_message(ended.message)}"
        for name, _, ended in failed_containers(pods)
    ]


def bad_input(pods: Iterable[Any]) -> BadInput | None:
    """The first `BadInput` that a container reported; None if there is none. After one, a restart does not help."""
    for *_, ended in failed_containers(pods):
        error = reported(ended.message)
        if isinstance(error, BadInput):
            return error
    return None


def reported(message: str | None) -> SlipwayError | None:
    """The error in a termination message that `slipway.components.train.remote` wrote; None for another message."""
    try:
        record = json.loads(message or "")
        kind = getattr(errors, record["kind"], None)
        text = str(record["message"])
    except (ValueError, KeyError, TypeError):
        return None
    return kind(text) if isinstance(kind, type) and issubclass(kind, SlipwayError) else None


def failed_containers(pods: Iterable[Any]) -> Iterator[tuple[str, str, Any]]:
    """Pod, container and last terminated state of each container that failed; init containers first."""
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
