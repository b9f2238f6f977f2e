"""Whether a revision's pods came up, and if they cannot, why: in the pods' own words, within seconds."""

from collections.abc import Sequence
from typing import Any

from slipway.components.platforms.pod_states import PodJudge
from slipway.components.rollout.kserve.api import CONTAINER, ServiceApi

UNAVAILABLE, REFUSED = 503, b"BundleRefused"
INIT_TRIES = 2
"""A storage initializer may fail once for a passing reason."""


def ready(pods: Sequence[Any]) -> list[Any]:
    """The pods that answer, as their probes say."""
    return [
        pod
        for pod in pods
        if any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or [])
    ]


def failure(pods: Sequence[Any], judge: PodJudge) -> str | None:
    """Why a revision will not start, once that is sure; None while there is hope."""
    for pod in pods:
        for container in pod.status.container_statuses or []:
            if container.name == CONTAINER and (words := ending(container)):
                return f"pod {pod.metadata.name} {words}"
        for container in pod.status.init_container_statuses or []:
            if container.restart_count >= INIT_TRIES and (words := ending(container)):
                return f"pod {pod.metadata.name}, fetching the bundle, {words}"
    return judge.problem(pods)


def refusal(api: ServiceApi, pods: Sequence[Any]) -> str | None:
    """Why a model server that is up will never be ready, as its readiness answer says: it refused its bundle."""
    for pod in pods:
        status, body = api.ask_pod(pod, f"/v2/models/{api.name}/ready", timeout_s=5.0)
        if status == UNAVAILABLE and REFUSED in body:
            return f"pod {pod.metadata.name} {body.decode(errors='replace')[:500]}"
    return None


def crash(pods: Sequence[Any]) -> str | None:
    """How the model server of a revision that had been ready ended, if one did."""
    for pod in pods:
        for container in pod.status.container_statuses or []:
            if container.name == CONTAINER and (words := ending(container)):
                return f"pod {pod.metadata.name} {words}"
    return None


def ending(container: Any) -> str | None:
    """How a container ended last, when it failed; the last lines of its output say why."""
    for state in (container.state, container.last_state):
        ended = state.terminated if state else None
        if ended and ended.exit_code:
            lines = [line for line in (ended.message or "").splitlines() if line.strip()]
            said = lines[-1].strip() if lines else (ended.reason or "no message")
            return f"ended with exit code {ended.exit_code}: {said[-500:]}"
    return None
