"""The report of a run: its outcome on top, then the section of each step."""

from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path
from typing import TypeVar

from slipway.components.compress import report as compress
from slipway.components.compress.result import CompressResult
from slipway.components.evaluate import report as evaluate
from slipway.components.evaluate.result import EvaluateResult
from slipway.components.prepare_data import report as prepare_data
from slipway.components.prepare_data.result import PrepareDataResult
from slipway.components.register import report as register
from slipway.components.register.result import RegisterResult
from slipway.components.report.outcome import outcome_of
from slipway.components.report.timing import StepTime, chart, step_times
from slipway.components.rollout import report as rollout
from slipway.components.rollout.result import RolloutResult
from slipway.components.select_model import report as select_model
from slipway.components.select_model.result import SelectModelResult
from slipway.components.step_runtime import html
from slipway.components.step_runtime.run_record import REPORT, Record, put_report
from slipway.components.step_runtime.step_result import Json, StepResult
from slipway.components.train import report as train
from slipway.components.train.result import TrainResult

R = TypeVar("R", bound=StepResult)


def _of(model: type[R], section: Callable[[R], str]) -> Callable[[Json], str]:
    """The section of a step, from the JSON of its result."""
    return lambda result: section(model.read(result))


SECTIONS: dict[str, Callable[[Json], str]] = {
    "rollout": _of(RolloutResult, rollout.section),
    "evaluate": _of(EvaluateResult, evaluate.section),
    "compress": _of(CompressResult, compress.section),
    "train": _of(TrainResult, train.section),
    "select_model": _of(SelectModelResult, select_model.section),
    "prepare_data": _of(PrepareDataResult, prepare_data.section),
    "register": _of(RegisterResult, register.section),
}
"""The sections in the order of a reader's questions: is it live, is it good, is it small, how was it made."""


def run(record: Record, model_name: str, run_name: str, output: Path) -> None:
    """Write the report of a run to `output`, and as `report.html` beside its record.

    Args:
        record: of the run.
        model_name: name of the model.
        run_name: name of the run.
        output: path of the HTML file.
    """
    html = render(record, model_name, run_name)
    for path in filter(None, [output, record.folder / REPORT if record.folder else None]):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html, "utf-8")
    if record.uri:
        put_report(record.uri, html)


def render(record: Record, model_name: str, run_name: str) -> str:
    """The whole page as HTML."""
    times = step_times(record.events, record.results)
    outcome = outcome_of(record)
    present = [name for name in SECTIONS if name in record.results]
    links = "".join(f'<a href="#{name}">{name}</a>' for name in present)
    lines = record.failure.lines if record.failure else []
    parts = [
        f"<h1>{escape(model_name)}: {escape(outcome.title)}</h1>",
        f'<p class="soft">Slipway run {escape(run_name)}</p>',
        html.notice(outcome.sentence, outcome.tone),
        *([html.code("\n".join(lines))] if lines else []),
        html.facts(highlights(record, times)),
        f"<nav>{links}</nav>",
        html.heading("Steps"),
        html.figure(partial(chart, times), "When each step ran"),
        html.table(["Step", "State", "Time"], [[t.step, t.state, _seconds(t.seconds)] for t in times]),
    ]
    parts += [f'<section id="{name}">{SECTIONS[name](record.results[name])}</section>' for name in present]
    return html.document(f"{model_name}: {outcome.title}", "\n".join(parts))


def highlights(record: Record, times: list[StepTime]) -> dict[str, str]:
    """The most important numbers of the run, from the steps that it reached."""
    results, facts = record.results, dict[str, str]()
    if evaluation := EvaluateResult.found_in(results):
        scores = evaluation.challenger
        facts |= {"Test macro-F1": f"{scores.macro_f1:.3f}", "Test accuracy": f"{scores.accuracy:.3f}"}
    if compression := CompressResult.found_in(results):
        chosen, teacher = compression.delivered, compression.teacher
        smaller, faster = teacher.size_bytes / chosen.size_bytes, teacher.latency(1) / chosen.latency(1)
        facts |= {
            "Model": chosen.name,
            "Size": f"{chosen.size_bytes / 1e6:.1f} MB ({smaller:.1f} times smaller)",
            "Latency at batch 1": f"{chosen.latency(1):.2f} ms ({faster:.1f} times faster)",
        }
    if registered := RegisterResult.found_in(results):
        facts["Version"] = registered.version
    times_of_events = [event.time for event in record.events]
    if times_of_events:
        facts["Whole run"] = _seconds(max(times_of_events) - min(times_of_events))
    return facts | {"Of it in steps": _seconds(sum(time.seconds or 0 for time in times))}


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
