"""The progress of a run on Kubeflow Pipelines, from its API and from the record that its steps keep in the store.

Neither source is complete. The API lists drivers, retries and tasks without a state. It has no progress within a task,
and its status of a big run may stop changing before the run ends. The record lacks tasks from the cache and tasks that
never started, and this machine may not reach the store.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from slipway.components.errors import BadInput
from slipway.components.report.timing import STEPS
from slipway.components.step_runtime import run_record
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.run_record import Record
from slipway.pipelines.kubeflow_api import RUN_ENDED, Endpoint, EndpointAway, Submitted, Task
from slipway.pipelines.progress_view import ENDINGS, StepView

SHOWN = ("preflight", *STEPS, "report")
PART = "cross_validate"
"""The name of the tasks of the step select_model; each makes one training."""

POLL_SECONDS = 5.0
RECORD_SECONDS = 10.0
"""Time between two reads of the record, each of which downloads one object for each pod."""

NO_RECORD_SECONDS = 60.0
"""Time until the next attempt after a record could not be read."""

OUTAGE_SECONDS = 120.0
"""How long the endpoint may not respond before the run is no longer followed."""

KINDS = {state: kind for kind, state in ENDINGS.items()}


class RunProgress:
    """Polls a run, and returns what changed as events of its steps (see `slipway.pipelines.progress_view.Events`).

    Args:
        endpoint: the API that has the run.
        run: the run.
        trainings: how many trainings cross-validation makes.
        say: called with a sentence when the record cannot be read.
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
        """Whether the run has not ended. Polls the sources when their pauses are over.

        Raises:
            EndpointAway: the endpoint did not respond for `OUTAGE_SECONDS`; the run itself goes on.
            BadInput: the endpoint rejects the request, or does not know the run.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._look()
            self._next_look = time.monotonic() + POLL_SECONDS
        ended = self.state in RUN_ENDED
        if ended or now >= self._next_record:
            self._read()
        return not ended

    def new(self) -> Iterator[Event]:
        """Events of what changed since the last call."""
        for name, shown in self._told.items():
            for event in changes(shown, self._view(name)):
                shown.take(event)
                yield event

    def first_failed(self) -> str | None:
        """The first step that failed according to the API; None when it names none."""
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
            self._record = run_record.read(self.run.record_uri)
            self._next_record = time.monotonic() + RECORD_SECONDS
        except BadInput as error:
            self._next_record = time.monotonic() + NO_RECORD_SECONDS
            if not self._said_unreadable:
                self._said_unreadable = True
                self._say(f"the record of the run cannot be read from here, so less is known of its steps ({error})")

    def _view(self, name: str) -> StepView:
        """The state of a step from both sources."""
        recorded = StepView(name, self._trainings if name == "select_model" else 0)
        for event in self._record.events:
            if event.step == name:
                recorded.take(event)
        if recorded.parts:
            ended = [task for task in self.tasks if _is(task, PART) and task.state in ("done", "unchanged")]
            recorded.count(max(len(ended), recorded.parts_done))
        view = merged(recorded, [task for task in self.tasks if _is(task, name) or _is_failed_driver(task, name)])
        if name == "select_model" and view.state == "done" and not self._began(name) and self._all_from_cache():
            view.state, view.started = "unchanged", None
        if view.state == "running" and self.state in RUN_ENDED:
            view.state = "lost"  # the run ended, but neither source has the end of this step
        return view

    def _began(self, name: str) -> bool:
        return any(event.step == name for event in self._record.events)

    def _all_from_cache(self) -> bool:
        """Whether all trainings of cross-validation came from the cache.

        The task of the step does not show that: its time is the time of the drivers of the trainings.
        """
        return {task.state for task in self.tasks if _is(task, PART)} == {"unchanged"}


def _is(task: Task, name: str) -> bool:
    return task.name.replace("-", "_") == name


def _is_failed_driver(task: Task, name: str) -> bool:
    """Whether a task is the failed driver of a step, so that the step never started."""
    return task.state == "failed" and _is(task, f"{name}_driver")


def merged(recorded: StepView, tasks: Iterable[Task]) -> StepView:
    """Combine the state of a step from its record with the API's tasks of the same name.

    An end that the API reports takes precedence, since the API knows of retries and of pods that were killed. Otherwise
    the record does, which still changes when the API's status does not.

    Args:
        recorded: the state from the record; it is changed and returned.
        tasks: the API's tasks of the step.
    """
    begun = [task for task in tasks if task.state != "waiting"]
    if not begun:
        return recorded
    states = {task.state for task in begun}
    order = ("running", "failed", "cancelled", "done", "unchanged")
    state = next(state for state in order if state in states)
    if state == "unchanged" and recorded.started is not None:
        state = "done"
    if recorded.state == "waiting" or state != "running":
        recorded.state = state
    if recorded.started is None and state != "unchanged":
        recorded.started = min((task.started for task in begun if task.started is not None), default=time.time())
    if recorded.state == "running":
        recorded.ended = None
    elif recorded.ended is None:
        recorded.ended = max((task.ended for task in begun if task.ended is not None), default=time.time())
    return recorded


def changes(shown: StepView, now: StepView) -> Iterator[Event]:
    """The events that lead from one state of a step to another.

    Args:
        shown: the state after the events that were already returned.
        now: the present state.
    """
    if now.state == "waiting":
        return
    restarted = shown.state not in ("waiting", "running") and now.state == "running"
    if now.started is not None and (shown.started is None or restarted):
        yield Event(step=now.name, kind="started", time=now.started)
    message, share = now.progress()
    if now.started is not None and message and (message, share) != (shown.message, shown.share):
        total = None if share is None else 1.0
        yield Event(step=now.name, kind="progress", time=time.time(), message=message, done=share, total=total)
    if now.state != shown.state and now.state in KINDS:
        yield Event(step=now.name, kind=KINDS[now.state], time=now.ended or time.time())
