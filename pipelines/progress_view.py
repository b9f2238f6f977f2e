"""Show the progress of a run: a live list of steps on a terminal, plain lines elsewhere.

The run may be on this machine or on a cluster. Only the source of its events differs.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from slipway.components.report.timing import STEPS
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.step_context import PROGRESS

POLL_SECONDS = 0.2
LINE_SECONDS = 5.0
"""At most one line of progress is printed for a step in this time."""
MARKS = {
    "waiting": "·",
    "running": "▸",
    "done": "[green]✓[/]",
    "failed": "[red]✗[/]",
    "unchanged": "[green]=[/]",
    "cancelled": "[yellow]✗[/]",
    "lost": "?",
}
"""The mark of each state of a step."""

ENDINGS = {"finished": "done", "failed": "failed", "unchanged": "unchanged", "cancelled": "cancelled", "lost": "lost"}
"""The state after each kind of event that ends a step. `lost` means that it is unknown how the step ended."""

WORDS = {"unchanged": "unchanged, not run again", "lost": "how it ended cannot be seen from here"}


class Events(Protocol):
    """A source of the events of a run."""

    def running(self) -> bool:
        """Whether the run has not ended."""

    def new(self) -> Iterable[Event]:
        """Events since the last call."""


class StepView:
    """The state of one step, as far as its events show it.

    Args:
        name: of the step.
        parts: how many parts of it run side by side, such as trainings; 0 when they are not to be counted.
    """

    def __init__(self, name: str, parts: int = 0) -> None:
        self.name, self.state, self.message = name, "waiting", ""
        self.parts, self.parts_done = parts, 0
        self.started: float | None = None
        self.ended: float | None = None
        self.share: float | None = None

    def take(self, event: Event) -> None:
        """Update the state by a progress event."""
        kind = event.kind
        # The event `started` may be missing: the cache may have skipped the task that sends it.
        if kind not in ("unchanged", "lost") and self.started is None:
            self.state, self.started = "running", event.time
        if kind == "progress":
            self.message = event.message
            self.share = event.done / event.total if event.done is not None and event.total else None
        elif kind == "part":
            self.count(self.parts_done + 1)
        elif kind == "started":
            self.state, self.ended = "running", None
        elif kind in ENDINGS:
            self.state, self.ended = ENDINGS[kind], event.time

    def count(self, done: int) -> None:
        """Set how many parts ended. At most `parts` are counted, since a part may run again."""
        self.parts_done = min(done, self.parts)

    def seconds(self) -> float | None:
        """Seconds that the step has taken so far; None before it starts."""
        return None if self.started is None else max(0.0, (self.ended or time.time()) - self.started)

    def progress(self) -> tuple[str, float | None]:
        """The last message, and the share that is done, from 0 to 1 (None when it is unknown)."""
        if not self.parts:
            return self.message, self.share
        done = self.parts if self.state == "done" else self.parts_done  # parts from the cache send no events
        count = f"{done} of {self.parts} trainings"
        return f"{count}, {self.message}" if self.message else count, done / self.parts


class FileEvents:
    """The events in the progress file of a run on this machine.

    Args:
        folder: of the run.
        running: returns whether the run has not ended.
    """

    def __init__(self, folder: Path, running: Callable[[], bool]) -> None:
        self.path, self.read, self.running = folder / PROGRESS, 0, running

    def new(self) -> Iterator[Event]:
        """Events since the last call. A line that is not complete yet is read by a later call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]
        self.read += len(complete)
        for line in complete.decode("utf-8").splitlines():
            yield Event.model_validate_json(line)


def follow(events: Events, console: Console, steps: Sequence[str] = STEPS, trainings: int = 0) -> None:
    """Show a run until it ends.

    Args:
        events: of the run.
        console: where it is shown.
        steps: names of the steps to show, in order.
        trainings: how many trainings cross-validation makes; 0 when they are not to be counted here.
    """
    views = {name: StepView(name, trainings if name == "select_model" else 0) for name in steps}
    if console.is_terminal:
        _live(events, views, console)
    else:
        _lines(events, views, console)


def _live(events: Events, views: dict[str, StepView], console: Console) -> None:
    with Live(console=console, refresh_per_second=5, transient=False) as live:
        run_goes_on = True
        while run_goes_on:
            run_goes_on = events.running()  # before the events are read, so that the last ones are not missed
            for event in events.new():
                if event.step in views:
                    views[event.step].take(event)
            live.update(_picture(views))
            time.sleep(POLL_SECONDS if run_goes_on else 0)


def _picture(views: dict[str, StepView]) -> Group:
    table = Table.grid(padding=(0, 2))
    for view in views.values():
        seconds = view.seconds()
        took = "" if seconds is None else f"{seconds:.0f} s"
        message, share = view.progress()
        bar = ProgressBar(total=1, completed=share, width=16) if view.state == "running" and share is not None else ""
        text = Text(WORDS.get(view.state, message if view.started else ""), overflow="ellipsis")
        table.add_row(MARKS[view.state], _title(view), Text(took, justify="right"), bar, text)
    return Group(table)


def _title(view: StepView) -> str:
    return view.name.replace("_", " ")


def _lines(events: Events, views: dict[str, StepView], console: Console) -> None:
    printed_at: dict[str, float] = {}
    run_goes_on = True
    while run_goes_on:
        run_goes_on = events.running()
        for event in events.new():
            view = views.get(event.step)
            if view is None:
                continue
            started_again = event.kind == "started" and view.started is not None  # several tasks make one step
            view.take(event)
            if not started_again and (line := _line(view, event, printed_at)):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        time.sleep(POLL_SECONDS if run_goes_on else 0)


def _line(view: StepView, event: Event, printed_at: dict[str, float]) -> str:
    title, seconds = f"{_title(view):<13}", f"{view.seconds() or 0:.0f} s"
    match event.kind:
        case "started":
            return f"{title} started"
        case "finished":
            return f"{title} done in {seconds}"
        case "failed" | "cancelled" as kind:
            return f"{title} {kind} after {seconds}"
        case "unchanged" | "lost" as kind:
            return f"{title} {WORDS[kind]}"
    if event.time - printed_at.get(view.name, 0) < LINE_SECONDS:
        return ""
    printed_at[view.name] = event.time
    message, share = view.progress()
    return f"{title} {'' if share is None else f'{100 * share:3.0f} % '}{message}"
