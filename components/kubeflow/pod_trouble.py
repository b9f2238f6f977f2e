"""Find out what is wrong with one pod of a run on Kubeflow Pipelines: a sentence, and the lines that show it."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from slipway.components.kubeflow.log_excerpt import driver_error, error_of, last_lines
from slipway.components.platforms.pod_states import BROKEN, SUSPICIOUS, failed_containers, symptoms

ROLE = "pipelines.kubeflow.org/runtime-role"
"""Annotation of a pod; its value is `driver` or `launcher`."""

MAIN, WAIT = "main", "wait"
MOUNT_SECONDS = 120.0
"""How long a pod that has a node may have no started container, while images are pulled and volumes are mounted."""

FAILED, WAITS, KILLED = range(3)
"""The rank of a trouble among those of a run. A killed pod is last: most often it was ended because of another one."""

SIGNALS = {137: "SIGKILL", 143: "SIGTERM"}
IMPORT_ERROR = re.compile(r"(ImportError|ModuleNotFoundError)\b|\S*python[\d.]*: (No module named|Error while finding)")
MISSING = re.compile(r'(secret|configmap) "([^"]+)" not found', re.IGNORECASE)
MISSING_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) \S+/(\S+)")
KINDS = {"secret": "Secret", "configmap": "ConfigMap"}


class PodReader(Protocol):
    """Reads what a pod's status does not have. The results are empty when it cannot be read."""

    def log(self, pod: str, container: str) -> str:
        """The end of a container's log."""

    def events(self, pod: str) -> list[str]:
        """The messages of the warnings about a pod, oldest first."""


class Trouble(NamedTuple):
    """What is wrong with a pod that failed, or that waits in vain."""

    rank: int
    time: datetime
    kind: str
    """A reason of Kubernetes, such as `OOMKilled`, or a cause of `slipway.components.platforms.pod_states.symptoms`."""
    message: str
    container: str = ""
    exit_code: int = 0


def troubles(pod: Any, now: datetime) -> Iterator[Trouble]:
    """Yield what is wrong with a pod; the first one shows the cause best.

    Args:
        pod: a kubernetes `V1Pod`.
        now: the present time, with time zone.
    """
    if pod.status.phase == "Succeeded":
        return
    created = pod.metadata.creation_timestamp or now
    age = (now - created).total_seconds()
    has_failed = pod.status.phase == "Failed"
    for kind, patience, message in sorted(symptoms(pod), key=lambda symptom: symptom[0] == pod.status.reason):
        if kind == pod.status.reason:  # a reason of the whole pod, such as Evicted
            yield Trouble(FAILED, _end_time(pod) or created, kind, message)
        elif has_failed or age >= patience:
            yield Trouble(WAITS, created + timedelta(seconds=patience), kind, message)
    for _, name, ended in sorted(failed_containers([pod]), key=lambda failure: failure[1] == WAIT):
        killed = ended.exit_code in SIGNALS and ended.reason != "OOMKilled"
        time = ended.finished_at or now
        yield Trouble(
            KILLED if killed else FAILED, time, ended.reason or "", ended.message or "", name, ended.exit_code
        )
    if age >= MOUNT_SECONDS and _has_no_container(pod):
        yield Trouble(WAITS, created + timedelta(seconds=MOUNT_SECONDS), "mount", "")


def _end_time(pod: Any) -> datetime | None:
    """When the last container of a pod ended; None when none has ended."""
    states = [status.state for status in pod.status.container_statuses or [] if status.state]
    return max(
        (state.terminated.finished_at for state in states if state.terminated and state.terminated.finished_at),
        default=None,
    )


def _has_no_container(pod: Any) -> bool:
    """Whether a pod has a node, but none of its containers has started, and none has a reason other than the usual."""
    statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    states = [status.state for status in statuses if status.state]
    usual = ("ContainerCreating", "PodInitializing")
    return bool(states) and all(state.waiting and state.waiting.reason in usual for state in states)


def explain(pod: Any, trouble: Trouble, reader: PodReader) -> tuple[str, list[str]]:
    """Explain a trouble of a pod.

    Returns:
        One sentence without a full stop, and the lines of the log or of events that show it.
    """
    if trouble.container:
        return _of_container(pod, trouble, reader.log(pod.metadata.name, trouble.container))
    messages = [trouble.message]
    match trouble.kind:
        case "mount":
            return _of_mount(pod, reader.events(pod.metadata.name))
        case "schedule":
            room = "has room" if "Insufficient" in trouble.message else "can take the pod"
            return f"no node {room}: {trouble.message}", messages
        case "configuration":
            return _missing(trouble.message) or f"the container cannot be configured: {trouble.message}", messages
        case "container":
            return f"the container cannot start: {trouble.message}", messages
        case kind if kind in {*BROKEN, "image"}:
            return f"the image {_image(pod)} cannot be pulled", messages
    return f"the pod was ended: {trouble.message}", messages


def _of_container(pod: Any, trouble: Trouble, log: str) -> tuple[str, list[str]]:
    """Explain why a container failed, from its exit and its log."""
    lines = last_lines(log or trouble.message)
    limit = _memory_limit(pod, trouble.container)
    if trouble.kind == "OOMKilled":
        return f"out of memory{limit}", lines
    if lines and lines[-1].endswith("signal: killed"):  # only the program was killed; its launcher reported it
        return f"killed, most likely out of memory{limit}", lines
    if signal := SIGNALS.get(trouble.exit_code):
        return f"killed by {signal}: by its node, or because somebody ended the run or the pod", lines
    if trouble.kind in ("StartError", "ContainerCannotRun"):
        return f"the container {trouble.container} cannot start: {trouble.message}", lines
    if trouble.container != MAIN:
        return f"the container {trouble.container} failed (exit code {trouble.exit_code}): {error_of(lines)}", lines
    if is_driver(pod) and (refusal := driver_error(log)):
        return f"the driver refused the task: {refusal[0]}", refusal
    error = error_of(lines)
    if IMPORT_ERROR.match(error):
        return f"the step's program could not be imported: {error}", lines
    outcome = "the driver failed" if is_driver(pod) else "the step failed"
    return outcome + (f": {error}" if error else f" without a word (exit code {trouble.exit_code})"), lines


def _of_mount(pod: Any, events: Sequence[str]) -> tuple[str, list[str]]:
    """Explain why no container started: from the events, or else with the volumes that the pod needs."""
    for event in reversed(events):
        if sentence := _missing(event):
            return sentence, [event]
    if events:
        return f"the pod does not start: {events[-1]}", list(events[-3:])
    needed = [
        *(
            f"Secret {volume.secret.secret_name}"
            for volume in pod.spec.volumes or []
            if volume.secret and not volume.secret.optional
        ),
        *(
            f"ConfigMap {volume.config_map.name}"
            for volume in pod.spec.volumes or []
            if volume.config_map and not volume.config_map.optional
        ),
    ]
    hint = f"; its volumes need {', '.join(needed)}" if needed else ""
    return f"the pod does not start: its image or its volumes do not come{hint}", []


def _missing(message: str) -> str | None:
    """A sentence about a Secret or a ConfigMap that is missing or lacks a key; None for another message."""
    if match := MISSING.search(message):
        return f"the {KINDS[match[1].lower()]} {match[2]} is missing"
    if match := MISSING_KEY.search(message):
        return f"the {match[2]} {match[3]} has no key {match[1]}"
    return None


def is_driver(pod: Any) -> bool:
    """Whether a pod is the driver of a task: by its annotation, or else by its arguments."""
    role = (pod.metadata.annotations or {}).get(ROLE)
    return role == "driver" if role else argument(pod, "--type") in ("ROOT_DAG", "DAG", "CONTAINER")


def argument(pod: Any, name: str) -> str:
    """The value of an argument of the main container; empty when it does not have the argument."""
    main = next((container for container in pod.spec.containers if container.name == MAIN), None)
    arguments = [*(main.command or []), *(main.args or [])] if main else []
    return arguments[arguments.index(name) + 1] if name in arguments[:-1] else ""


def _image(pod: Any) -> str:
    """The image that a container cannot pull."""
    for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = status.state.waiting if status.state else None
        if waiting and (waiting.reason in BROKEN or SUSPICIOUS.get(waiting.reason) == "image"):
            return str(status.image)
    return "of its container"


def _memory_limit(pod: Any, name: str) -> str:
    """The memory limit of a container, as the end of a sentence; empty without a limit."""
    for container in [*(pod.spec.init_containers or []), *pod.spec.containers]:
        limits = container.resources.limits if container.name == name and container.resources else None
        if limits and "memory" in limits:
            return f" (limit {limits['memory']})"
    return ""
