"""Show a person where a run stands: a live list of steps on a terminal, plain lines elsewhere."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from components.report.timing import STEPS
from components.stage import PROGRESS

TITLES = {
    "prepare_data": "prepare data",
    "select_model": "select model",
    "train": "train",
    "compress": "compress",
    "evaluate": "evaluate",
    "register": "register",
    "rollout": "rollout",
}
POLL_SECONDS = 0.2
LINE_SECONDS = 5.0


class StepView:
    """What is shown of one step."""

    def __init__(self, name: str) -> None:
        self.name, self.state, self.message = name, "waiting", ""
        self.started: float | None = None
        self.ended: float | None = None
        self.share: float | None = None

    def take(self, event: dict[str, Any]) -> None:
        """Change by a progress event."""
        kind = event["kind"]
        if kind != "unchanged" and self.started is None:  # the part that starts a step may have been skipped
            self.state, self.started = "running", event["time"]
        if kind == "progress":
            self.message = str(event["message"])
            done, total = event.get("done"), event.get("total")
            self.share = done / total if done is not None and total else None
        elif kind == "started":
            self.state, self.ended = "running", None
        elif kind in ("finished", "failed", "unchanged"):
            self.state, self.ended = ("done" if kind == "finished" else kind), event["time"]

    def seconds(self) -> float | None:
        """How long the step has taken so far."""
        return None if self.started is None else (self.ended or time.time()) - self.started


class Events:
    """Reads the lines that were added to a run's progress file."""

    def __init__(self, folder: Path) -> None:
        self.path, self.read = folder / PROGRESS, 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Events since the last call; a line that is still being written waits."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            content = file.read()
        complete = content[: content.rfind(b"\n") + 1]
        self.read += len(complete)
        for line in complete.decode("utf-8").splitlines():
            yield json.loads(line)


def follow(folder: Path, running: Callable[[], bool], console: Console) -> None:
    """Show the run in `folder` until `running` says that it ended."""
    views = {name: StepView(name) for name in STEPS}
    if console.is_terminal:
        _live(Events(folder), views, running, console)
    else:
        _lines(Events(folder), views, running, console)


def _live(events: Events, views: dict[str, StepView], running: Callable[[], bool], console: Console) -> None:
    with Live(console=console, refresh_per_second=5, transient=False) as live:
        going = True
        while going:
            going = running()
            for event in events.new():
                if event["step"] in views:
                    views[event["step"]].take(event)
            live.update(_picture(views))
            time.sleep(POLL_SECONDS if going else 0)


def _picture(views: dict[str, StepView]) -> Group:
    table = Table.grid(padding=(0, 2))
    marks = {"waiting": "·", "running": "▸", "done": "[green]✓[/]", "failed": "[red]✗[/]", "unchanged": "[green]=[/]"}
    for view in views.values():
        seconds = view.seconds()
        took = "" if seconds is None else f"{seconds:.0f} s"
        said = "unchanged, not run again" if view.state == "unchanged" else view.message
        bar = ProgressBar(total=1, completed=view.share or 0.0, width=16) if _has_bar(view) else Text("")
        table.add_row(
            marks[view.state], TITLES[view.name], Text(took, justify="right"), bar, Text(said, overflow="ellipsis")
        )
    return Group(table)


def _has_bar(view: StepView) -> bool:
    return view.state == "running" and view.share is not None


def _lines(events: Events, views: dict[str, StepView], running: Callable[[], bool], console: Console) -> None:
    said: dict[str, float] = {}
    going = True
    while going:
        going = running()
        for event in events.new():
            view = views.get(event["step"])
            if view is None:
                continue
            again = event["kind"] == "started" and view.started is not None  # several tasks make one step
            view.take(event)
            if not again and (line := _line(view, event, said)):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        time.sleep(POLL_SECONDS if going else 0)


def _line(view: StepView, event: dict[str, Any], said: dict[str, float]) -> str:
    title = f"{TITLES[view.name]:<13}"
    match event["kind"]:
        case "started":
            return f"{title} started"
        case "finished":
            return f"{title} done in {view.seconds():.0f} s"
        case "failed":
            return f"{title} failed after {view.seconds() or 0:.0f} s"
        case "unchanged":
            return f"{title} unchanged, not run again"
    if event["time"] - said.get(view.name, 0) < LINE_SECONDS:
        return ""
    said[view.name] = event["time"]
    share = "" if view.share is None else f"{100 * view.share:3.0f} % "
    return f"{title} {share}{view.message}"
