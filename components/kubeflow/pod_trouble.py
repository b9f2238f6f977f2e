"""What is wrong with one pod of a run on Kubeflow Pipelines, as a sentence and the lines that tell it."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from slipway.components.kubeflow.log_excerpt import driver_error, error_of, telling
from slipway.components.platforms.pod_states import BROKEN, SUSPICIOUS, failed_containers, symptoms

ROLE = "pipelines.kubeflow.org/runtime-role"
"""Annotation of a pod: `driver` or `launcher`."""

MAIN, WAIT = "main", "wait"
MOUNT_SECONDS = 120.0
"""How long a pod that has a node may have no container at all: images are pulled and volumes mounted meanwhile."""

FAILED, WAITS, KILLED = range(3)
"""Which trouble of a run counts first. One that is killed is most often ended because of another."""

SIGNALS = {137: "SIGKILL", 143: "SIGTERM"}
IMPORT_ERROR = re.compile(r"(ImportError|ModuleNotFoundError)\b|\S*python[\d.]*: (No module named|Error while finding)")
MISSING = re.compile(r'(secret|configmap) "([^"]+)" not found', re.IGNORECASE)
MISSING_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) \S+/(\S+)")
KINDS = {"secret": "Secret", "configmap": "ConfigMap"}


class Sayings(Protocol):
    """What a pod says beyond its status; empty where it cannot be read."""

    def log(self, pod: str, container: str) -> str:
        """The end of a container's log."""

    def events(self, pod: str) -> list[str]:
        """The messages of the warnings about a pod, oldest first."""


class Trouble(NamedTuple):
    """A pod that failed, or that waits for what does not come."""

    rank: int
    time: datetime
    kind: str
    """A reason that Kubernetes gives, or a cause of `slipway.components.platforms.pod_states.symptoms`."""
    words: str
    container: str = ""
    exit_code: int = 0


def troubles(pod: Any, now: datetime) -> Iterator[Trouble]:
    """What is wrong with a pod, the most telling first."""
    if pod.status.phase == "Succeeded":
        return
    created = pod.metadata.creation_timestamp or now
    age = (now - created).total_seconds()
    over = pod.status.phase == "Failed"
    for kind, patience, words in sorted(symptoms(pod), key=lambda symptom: symptom[0] == pod.status.reason):
        if kind == pod.status.reason:  # of the whole pod, such as Evicted
            yield Trouble(FAILED, _end(pod) or created, kind, words)
        elif over or age >= patience:
            yield Trouble(WAITS, created + timedelta(seconds=patience), kind, words)
    for _, name, ended in sorted(failed_containers([pod]), key=lambda each: each[1] == WAIT):
        killed = ended.exit_code in SIGNALS and ended.reason != "OOMKilled"
        time = ended.finished_at or now
        yield Trouble(
            KILLED if killed else FAILED, time, ended.reason or "", ended.message or "", name, ended.exit_code
        )
    if age >= MOUNT_SECONDS and _has_no_container(pod):
        yield Trouble(WAITS, created + timedelta(seconds=MOUNT_SECONDS), "mount", "")


def _end(pod: Any) -> datetime | None:
    """When the last container of a pod ended."""
    states = [status.state for status in pod.status.container_statuses or [] if status.state]
    return max((s.terminated.finished_at for s in states if s.terminated and s.terminated.finished_at), default=None)


def _has_no_container(pod: Any) -> bool:
    """Whether a pod has a node, and none of its containers has ever been started or could tell why not."""
    statuses = [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]
    states = [status.state for status in statuses if status.state]
    usual = ("ContainerCreating", "PodInitializing")
    return bool(states) and all(state.waiting and state.waiting.reason in usual for state in states)


def explained(pod: Any, trouble: Trouble, sayings: Sayings) -> tuple[str, list[str]]:
    """The sentence and the lines."""
    if trouble.container:
        return _of_container(pod, trouble, sayings.log(pod.metadata.name, trouble.container))
    words = [trouble.words]
    match trouble.kind:
        case "mount":
            return _of_mount(pod, sayings.events(pod.metadata.name))
        case "schedule":
            room = "has room" if "Insufficient" in trouble.words else "can take the pod"
            return f"no node {room}: {trouble.words}", words
        case "configuration":
            return _missing(trouble.words) or f"the container cannot be configured: {trouble.words}", words
        case "container":
            return f"the container cannot start: {trouble.words}", words
        case kind if kind in {*BROKEN, "image"}:
            return f"the image {_image(pod)} cannot be pulled", words
    return f"the pod was ended: {trouble.words}", words


def _of_container(pod: Any, trouble: Trouble, log: str) -> tuple[str, list[str]]:
    """Why a container failed."""
    lines = telling(log or trouble.words)
    limit = _memory_limit(pod, trouble.container)
    if trouble.kind == "OOMKilled":
        return f"out of memory{limit}", lines
    if lines and lines[-1].endswith("signal: killed"):  # the launcher outlived the program that it started
        return f"killed, most likely out of memory{limit}", lines
    if signal := SIGNALS.get(trouble.exit_code):
        return f"killed by {signal}: by its node, or because somebody ended the run or the pod", lines
    if trouble.kind in ("StartError", "ContainerCannotRun"):
        return f"the container {trouble.container} cannot start: {trouble.words}", lines
    if trouble.container != MAIN:
        return f"the container {trouble.container} failed (exit code {trouble.exit_code}): {error_of(lines)}", lines
    if is_driver(pod) and (refusal := driver_error(log)):
        return f"the driver refused the task: {refusal[0]}", refusal
    error = error_of(lines)
    if IMPORT_ERROR.match(error):
        return f"the step's program could not be imported: {error}", lines
    what = "the driver failed" if is_driver(pod) else "the step failed"
    return what + (f": {error}" if error else f" without a word (exit code {trouble.exit_code})"), lines


def _of_mount(pod: Any, events: Sequence[str]) -> tuple[str, list[str]]:
    """Why no container started: what the events say, else what must be there for it."""
    for event in reversed(events):
        if sentence := _missing(event):
            return sentence, [event]
    if events:
        return f"the pod does not start: {events[-1]}", list(events[-3:])
    needed = [
        *(f"Secret {v.secret.secret_name}" for v in pod.spec.volumes or [] if v.secret and not v.secret.optional),
        *(
            f"ConfigMap {v.config_map.name}"
            for v in pod.spec.volumes or []
            if v.config_map and not v.config_map.optional
        ),
    ]
    what = f"; its volumes need {', '.join(needed)}" if needed else ""
    return f"the pod does not start: its image or its volumes do not come{what}", []


def _missing(words: str) -> str | None:
    """The sentence about a Secret or a ConfigMap that is not there, or lacks a key."""
    if found := MISSING.search(words):
        return f"the {KINDS[found[1].lower()]} {found[2]} is missing"
    if found := MISSING_KEY.search(words):
        return f"the {found[2]} {found[3]} has no key {found[1]}"
    return None


def is_driver(pod: Any) -> bool:
    role = (pod.metadata.annotations or {}).get(ROLE)
    return role == "driver" if role else argument(pod, "--type") in ("ROOT_DAG", "DAG", "CONTAINER")


def argument(pod: Any, name: str) -> str:
    """The value of an argument of the main container; empty when it has none such."""
    main = next((container for container in pod.spec.containers if container.name == MAIN), None)
    words = [*(main.command or []), *(main.args or [])] if main else []
    return words[words.index(name) + 1] if name in words[:-1] else ""


def _image(pod: Any) -> str:
    """The image that a container waits for."""
    for status in [*(pod.status.init_container_statuses or []), *(pod.status.container_statuses or [])]:
        waiting = status.state.waiting if status.state else None
        if waiting and (waiting.reason in BROKEN or SUSPICIOUS.get(waiting.reason) == "image"):
            return str(status.image)
    return "of its container"


def _memory_limit(pod: Any, name: str) -> str:
    for container in [*(pod.spec.init_containers or []), *pod.spec.containers]:
        limits = container.resources.limits if container.name == name and container.resources else None
        if limits and "memory" in limits:
            return f" (limit {limits['memory']})"
    return ""
