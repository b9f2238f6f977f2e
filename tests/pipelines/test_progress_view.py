"""What a person sees of a run that is going on."""

import io
import json
from pathlib import Path

from rich.console import Console

from slipway.components.step_runtime.progress import Event
from slipway.pipelines.progress_view import FileEvents, StepView, follow


def event(step: str, kind: str, time: float, **values: object) -> str:
    return json.dumps({"time": time, "step": step, "kind": kind, **values}) + "\n"


def test_a_half_written_event_waits(tmp_path: Path) -> None:
    events = FileEvents(tmp_path, lambda: True)
    assert list(events.new()) == []
    whole = event("train", "started", 1.0)
    (tmp_path / "progress.jsonl").write_text(whole + whole[:10])
    assert len(list(events.new())) == 1
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write(whole[10:])
    assert len(list(events.new())) == 1


def test_parallel_parts_of_a_step_count_from_first_start_to_last_end() -> None:
    view = StepView("select_model")
    for kind, time in [("started", 1.0), ("started", 2.0), ("finished", 3.0), ("finished", 6.0)]:
        view.take(Event(step="select_model", kind=kind, time=time))
    assert (view.state, view.seconds()) == ("done", 5.0)


def test_a_step_whose_first_part_was_skipped_counts_from_what_ran() -> None:
    view = StepView("select_model")
    for kind, time in [("progress", 4.0), ("finished", 6.0)]:
        view.take(Event(step="select_model", kind=kind, time=time, message="fold 2"))
    assert (view.state, view.seconds()) == ("done", 2.0)


def test_lines_are_printed_where_there_is_no_terminal(tmp_path: Path) -> None:
    lines = [
        event("prepare_data", "unchanged", 1.0),
        event("train", "started", 2.0),
        event("train", "progress", 8.0, message="epoch 1 [/of] [red]4", done=1, total=4),
        event("train", "progress", 8.1, message="too soon after", done=2, total=4),
        event("train", "failed", 9.0),
    ]
    (tmp_path / "progress.jsonl").write_text("".join(lines))
    output = io.StringIO()
    follow(FileEvents(tmp_path, lambda: False), Console(file=output, width=100))
    assert output.getvalue().splitlines() == [
        "prepare data  unchanged, not run again",
        "train         started",
        "train          25 % epoch 1 [/of] [red]4",
        "train         failed after 7 s",
    ]


def test_trainings_of_cross_validation_are_counted(tmp_path: Path) -> None:
    lines = [
        event("select_model", "started", 1.0),
        event("select_model", "started", 1.0),
        event("select_model", "part", 8.0),
        event("select_model", "progress", 20.0, message="minilm, fold 2: update 40"),
        event("select_model", "finished", 30.0),
    ]
    (tmp_path / "progress.jsonl").write_text("".join(lines))
    output = io.StringIO()
    follow(FileEvents(tmp_path, lambda: False), Console(file=output, width=100), trainings=6)
    assert output.getvalue().splitlines() == [
        "select model  started",
        "select model   17 % 1 of 6 trainings",
        "select model   17 % 1 of 6 trainings, minilm, fold 2: update 40",
        "select model  done in 29 s",
    ]


def test_a_live_list_has_every_step_once(tmp_path: Path) -> None:
    lines = [
        event("train", "started", 1.0),
        event("train", "progress", 2.0, message="epoch 1", done=1, total=4),
        event("compress", "lost", 1.0),
    ]
    (tmp_path / "progress.jsonl").write_text("".join(lines))
    output = io.StringIO()
    console = Console(file=output, width=100, force_terminal=True, color_system=None)
    follow(FileEvents(tmp_path, lambda: False), console, steps=("train", "compress", "rollout"))
    seen = output.getvalue()
    assert [seen.count(name) for name in ("train ", "compress ", "rollout ")] == [1, 1, 1]
    assert "epoch 1" in seen
    assert "how it ended cannot be seen from here" in seen
