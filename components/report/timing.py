"""How long each step of a run took, from its progress events."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from slipway.components.step_runtime.html import WIDE, new_figure
from slipway.components.step_runtime.progress import Event
from slipway.components.step_runtime.step_result import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = ("prepare_data", "select_model", "train", "compress", "evaluate", "register", "rollout")


class StepTime(NamedTuple):
    """One step of a run; `seconds` is None when the step did not run."""

    step: str
    state: str
    """`done`, `unchanged` (its result of an earlier run was used), `failed`, `running` or `not reached`."""
    seconds: float | None
    start: float | None
    """Seconds since the first event of the run."""


def step_times(events: Sequence[Event], results: Results) -> list[StepTime]:
    """The steps in order. The time of a step with parallel tasks is from its first start to its last end.

    Args:
        events: progress events of the run.
        results: of the run.
    """
    run_start = min((event.time for event in events), default=0.0)
    return [_step_time(step, [event for event in events if event.step == step], results, run_start) for step in STEPS]


def _step_time(step: str, step_events: list[Event], results: Results, run_start: float) -> StepTime:
    step_events = [event for event in step_events if event.kind != "unchanged"]
    if not step_events:
        return StepTime(step, "unchanged" if step in results else "not reached", None, None)
    start, end = step_events[0].time, step_events[-1].time
    kinds = {event.kind for event in step_events}
    state = "failed" if "failed" in kinds else "done" if step in results else "running"
    return StepTime(step, state, end - start, start - run_start)


def chart(times: Sequence[StepTime], width: float = WIDE) -> "Figure":
    """A bar for each step that ran, from its start to its end."""
    ran = [time for time in times if time.seconds is not None]
    figure = new_figure(width, 0.6 + 0.32 * len(ran))
    axes = figure.subplots()
    colours = {"failed": "#b3261e", "done": "#2f5d9e", "running": "#b7791f"}
    for row, time in enumerate(ran):
        axes.barh(row, time.seconds or 0, left=time.start, height=0.6, color=colours[time.state])
        axes.text((time.start or 0) + (time.seconds or 0), row, f"  {time.seconds:.0f} s", va="center")
    axes.set_yticks(range(len(ran)), [time.step for time in ran])
    axes.invert_yaxis()
    axes.set_xlabel("seconds since the start of the run")
    axes.margins(x=0.8 / width)  # room for the seconds
    axes.spines[["top", "right"]].set_visible(False)
    return figure
