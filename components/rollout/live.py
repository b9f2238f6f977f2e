"""Shows the evidence of a rollout in progress in the terminal: a row for each metric."""

from rich.table import Table

from slipway.components.rollout.analysis.verdict import NEVER
from slipway.components.rollout.charts import TITLES, verdict_text
from slipway.components.rollout.rollout_progress import MetricProgress

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 24
"""Most characters of a course."""
STYLES = {"roll back": "red", "go on": "green", "hold": "yellow"}


def evidence_table(rows: list[MetricProgress]) -> Table:
    """A table with shares of both revisions, harm with its bounds, margin, course and verdict of each metric.

    Args:
        rows: the evidence of a rollout.
    """
    table = Table(
        "", "champion", "challenger", "harm", "bounds", "margin", "course", "verdict", box=None, pad_edge=False
    )
    for row in rows:
        harm, bounds, verdict = "–", "–", "no data"
        if row.harm is not None:
            harm, bounds = _points(row.harm), f"{_points(row.lower)} to {_points(row.upper)}"
            verdict = verdict_text(row.verdict, row.upper, row.margin)
        margin = _points(row.margin) if row.margin < NEVER else "–"
        table.add_row(
            TITLES[row.metric],
            _percent(row.champion),
            _percent(row.challenger),
            harm,
            bounds,
            margin,
            course(row.course, row.margin),
            f"[{STYLES[row.verdict]}]{verdict}[/]",
        )
    return table


def course(harms: list[float], margin: float) -> str:
    """The last estimates as bars: lowest at no harm, full at twice the margin."""
    steps = len(BARS) - 1
    return "".join(BARS[min(max(round(harm / margin / 2 * steps), 0), steps)] for harm in harms[-WIDTH:])


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}%"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
