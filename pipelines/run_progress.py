"""How a run on Kubeflow Pipelines goes on: its API and the record that its steps keep in the store, put together.

Neither tells all. The API lists drivers, retries and tasks without a state, knows nothing of what happens inside a
task, and freezes in the middle of a big run. The record lacks what came from the cache and what never started, and
this machine may not reach the store.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from slipway.components.errors import BadInput
from slipway.components.report.timing import STEPS
from slipway.components.step_runtime import run_record
from slipway.components.step_runtime.run_record import Record
from slipway.pipelines.kubeflow_api import RUN_ENDED, Endpoint, EndpointAway, Submitted, Task
from slipway.pipelines.progress_view import ENDINGS, StepView

SHOWN = ("preflight", *STEPS, "report")
PART = "cross_validate"
"""The task of which each training of the step select_model is one."""

POLL_SECONDS = 5.0
RECORD_SECONDS = 10.0
"""To read a record means to fetch what each of its pods wrote."""

NO_RECORD_SECONDS = 60.0
"""After a record that could not be read."""

OUTAGE_SECONDS = 120.0
"""How long the endpoint may be away while a run is followed."""

KINDS = {state: kind for kind, state in ENDINGS.items()}


class RunProgress:
    """Looks at a run from time to time, and tells what changed as the events of its steps.

    Args:
        endpoint: where the run is.
        run: the run.
        trainings: how many cross-validation makes.
        say: gets a sentence when a source cannot be used.
    """

    def __init__(self, endpoint: Endpoint, run: Submitted, trainings: int, say: Callable[[str], None]) -> None:
        self.endpoint, self.run, self._say = endpoint, run, say
        self.state = "PENDING"
        self.tasks: list[Task] = []
        self._trainings = trainings
        self._record = Record(None, {}, None, [])
        self._told = {name: StepView(name) for name in SHOWN}
        self._reached = time.monotonic()
        self._next_look = self._next_record = 0.0
        self._said_unreadable = False

    def running(self) -> bool:
        """Whether the run goes on; looks at it when it is time to.

        Raises:
            EndpointAway: the endpoint was away for minutes; the run goes on without us.
            BadInput: it does not let us in any more, or does not know the run.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._look()
            self._next_look = time.monotonic() + POLL_SECONDS
        ended = self.state in RUN_ENDED
        if ended or now >= self._next_record:
            self._read()
        return not ended

    def new(self) -> Iterator[dict[str, Any]]:
        """What changed since the last call."""
        for name, told in self._told.items():
            for event in changes(told, self._view(name)):
                told.take(event)
                yield event

    def first_failed(self) -> str | None:
        """The first step that failed, as the API says; None when it names none."""
        failed = {task.name.removesuffix("-driver").replace("-", "_") for task in self.tasks if task.state == "failed"}
        return next((name for name in SHOWN if name in failed), None)

    def _look(self) -> None:
        try:
            self.state, self.tasks = self.endpoint.look(self.run)
            self._reached = time.monotonic()
        except EndpointAway as error:
            if time.monotonic() - self._reached > OUTAGE_SECONDS:
                raise EndpointAway(f"{error}; the run goes on, see {self.run.url}") from error
        except BadInput as error:
            raise BadInput(f"{error}; the run goes on, see {self.run.url}") from error

    def _read(self) -> None:
        try:
            self._record = run_record.read(self.run.place)
            self._next_record = time.monotonic() + RECORD_SECONDS
        except BadInput as error:
            self._next_record = time.monotonic() + NO_RECORD_SECONDS
            if not self._said_unreadable:
                self._said_unreadable = True
                self._say(f"the record of the run cannot be read from here, so less is known of its steps ({error})")

    def _view(self, name: str) -> StepView:
        """All that is known of a step."""
        recorded = StepView(name, self._trainings if name == "select_model" else 0)
        for event in self._record.events:
            if event["step"] == name:
                recorded.take(event)
        if recorded.parts:
            ended = [task for task in self.tasks if _is(task, PART) and task.state in ("done", "unchanged")]
            recorded.count(max(len(ended), recorded.parts_done))
        view = merged(recorded, [task for task in self.tasks if _is(task, name) or _kept_from(task, name)])
        if name == "select_model" and view.state == "done" and not self._began(name) and self._all_from_cache():
            view.state, view.started = "unchanged", None
        if view.state == "running" and self.state in RUN_ENDED:
            view.state = "lost"  # the API stopped telling of it, and it left no word
        return view

    def _began(self, name: str) -> bool:
        return any(event["step"] == name for event in self._record.events)

    def _all_from_cache(self) -> bool:
        """Whether no training of cross-validation was made; the API gives the time of their drivers to the step."""
        return {task.state for task in self.tasks if _is(task, PART)} == {"unchanged"}


def _is(task: Task, name: str) -> bool:
    return task.name.replace("-", "_") == name


def _kept_from(task: Task, name: str) -> bool:
    """Whether a task is the driver of a step, and failed, so that the step never began."""
    return task.state == "failed" and _is(task, f"{name}_driver")


def merged(recorded: StepView, tasks: Iterable[Task]) -> StepView:
    """A step by its record and by the tasks of its name.

    An end that the API tells counts, since it knows of retries, and of pods that died; else the record does, which
    goes on when the API has frozen.
    """
    found = [task for task in tasks if task.state != "waiting"]
    if not found:
        return recorded
    states = {task.state for task in found}
    order = ("running", "failed", "cancelled", "done", "unchanged")
    state = next(state for state in order if state in states)
    if state == "unchanged" and recorded.started is not None:
        state = "done"
    if recorded.state == "waiting" or state != "running":
        recorded.state = state
    if recorded.started is None and state != "unchanged":
        recorded.started = min((task.started for task in found if task.started is not None), default=time.time())
    if recorded.state == "running":
        recorded.ended = None
    elif recorded.ended is None:
        recorded.ended = max((task.ended for task in found if task.ended is not None), default=time.time())
    return recorded


def changes(told: StepView, now: StepView) -> Iterator[dict[str, Any]]:
    """The events that lead from what was told of a step to what is known now."""
    if now.state == "waiting":
        return
    step = {"step": now.name}
    began_again = told.state not in ("waiting", "running") and now.state == "running"
    if (told.started is None and now.started is not None) or began_again:
        yield step | {"kind": "started", "time": now.started}
    message, share = now.progress()
    if now.started is not None and message and (message, share) != (told.message, told.share):
        counted = {} if share is None else {"done": share, "total": 1.0}
        yield step | {"kind": "progress", "time": time.time(), "message": message} | counted
    if now.state != told.state and now.state in KINDS:
        yield step | {"kind": KINDS[now.state], "time": now.ended or time.time()}
