"""Reads from a revision's pods whether they are ready, and within seconds why they cannot start or have ended."""

from collections.abc import Sequence
from typing import Any

from slipway.components.platforms.pod_states import PodJudge
from slipway.components.rollout.kserve.api import CONTAINER, ServiceApi

UNAVAILABLE, REFUSED = 503, b"BundleRefused"
INIT_TRIES = 2
"""Attempts of an init container before its failure counts: the storage initializer may fail once and then succeed."""


def ready(pods: Sequence[Any]) -> list[Any]:
    """The pods whose condition `Ready` is met."""
    return [
        pod
        for pod in pods
        if any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or [])
    ]


def failure(pods: Sequence[Any], judge: PodJudge) -> str | None:
    """The reason why a revision cannot start, as soon as it is certain; None while it still may."""
    for pod in pods:
        for container in pod.status.container_statuses or []:
            if container.name == CONTAINER and (failed := ending(container)):
                return f"pod {pod.metadata.name} {failed}"
        for container in pod.status.init_container_statuses or []:
            if container.restart_count >= INIT_TRIES and (failed := ending(container)):
                return f"pod {pod.metadata.name}, fetching the bundle, {failed}"
    return judge.problem(pods)


def refusal(api: ServiceApi, pods: Sequence[Any]) -> str | None:
    """The reason why a model server that runs refused its bundle, from its readiness response; None if none did."""
    for pod in pods:
        status, body = api.ask_pod(pod, f"/v2/models/{api.name}/ready", timeout_s=5.0)
        if status == UNAVAILABLE and REFUSED in body:
            return f"pod {pod.metadata.name} {body.decode(errors='replace')[:500]}"
    return None


def crash(pods: Sequence[Any]) -> str | None:
    """How a model server of a revision that had been ready ended; None if none did."""
    for pod in pods:
        for container in pod.status.container_statuses or []:
            if container.name == CONTAINER and (failed := ending(container)):
                return f"pod {pod.metadata.name} {failed}"
    return None


def ending(container: Any) -> str | None:
    """How a container failed last: its exit code and the last line of its output; None if it did not fail."""
    for state in (container.state, container.last_state):
        ended = state.terminated if state else None
        if ended and ended.exit_code:
            lines = [line for line in (ended.message or "").splitlines() if line.strip()]
            message = lines[-1].strip() if lines else (ended.reason or "no message")
            return f"ended with exit code {ended.exit_code}: {message[-500:]}"
    return None
