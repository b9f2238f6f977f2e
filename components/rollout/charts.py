"""Charts for the report of a rollout: each metric over time, both revisions' shares, and the traffic."""

from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

from slipway.components.rollout.analysis.verdict import NEVER
from slipway.components.rollout.result import MetricResult, RolloutResult
from slipway.components.rollout.state import Point
from slipway.components.step_runtime.html import SMALL, WIDE, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {
    "errors": "Failed requests",
    "slow": "Slow answers",
    "disagreement": "Other answers than the champion",
    "accuracy": "Wrong answers to the gate's test texts",
    "shadow": "Other answers than the champion to clients",
}
PHASES = {"baseline": "start, baseline", "compare": "comparison", "shadow": "shadow"}
LONGEST_TITLE = 50
"""Characters of a title that fit into the narrow chart."""
LETTER = 0.016
"""Width of a letter, as a part of the width of the narrow chart."""
INK, GOOD, BAD, CHAMPION, CHALLENGER = "#1c2430", "#1a7f4b", "#b3261e", "#8a94a3", "#2f5d9e"
TONES = {"roll back": BAD, "go on": GOOD, "hold": CHAMPION}
VERDICT_TEXTS = {"roll back": "worse", "go on": "no worse", "hold": "undecided"}


def verdict_text(verdict: str, upper: float, margin: float) -> str:
    """A verdict in words. A metric that is not judged may go on with a bound above the margin: nothing is shown.

    A margin of 1 decides nothing.
    """
    if margin >= NEVER:
        return "for information"
    return "not enough to tell" if verdict == "go on" and upper > margin else VERDICT_TEXTS[verdict]


def evidence_chart(result: RolloutResult, width: float) -> "Figure":
    """For each metric two charts: the harm with its confidence sequence and the margin, and both revisions' shares.

    The two charts are side by side, or below each other in a narrow figure.

    Args:
        result: with metrics and timeline.
        width: of the figure, in inches.
    """
    metrics, wide = result.metrics, width == WIDE
    figure = new_figure(width, (2.5 if wide else 4.4) * len(metrics))
    if wide:
        panels = figure.subplots(len(metrics), 2, squeeze=False, width_ratios=(3, 2))
    else:
        panels = figure.subplots(2 * len(metrics), 1, height_ratios=[3, 2] * len(metrics))
    for (left, right), (name, metric) in zip(panels.reshape(-1, 2), metrics.items(), strict=True):
        points = _moments(name, result.timeline)
        _harm(left, name, metric, points)
        _shares(right, metric, points)
        for axes in (left, right):
            _mark_phases(axes, result, points, named=axes is left)
            axes.set_xlabel("seconds", fontsize=SMALL)
            axes.tick_params(labelsize=SMALL)
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
    return figure


class Moment(NamedTuple):
    """A metric at one look; shares from 0 to 1."""

    seconds: float
    harm: float
    lower: float
    upper: float
    champion: float | None
    challenger: float | None
    verdict: str


def _moments(name: str, timeline: list[Point]) -> list[Moment]:
    """The looks at which a metric has data and differs from the look before."""
    moments: list[Moment] = []
    for point in timeline:
        harm, lower, upper = point.metrics.get(name, (None, -1.0, 1.0))
        if harm is None:
            continue
        champion, challenger = point.rates.get(name, (None, None))
        verdict = point.verdicts.get(name, point.verdict)
        moment = Moment(point.seconds, harm, lower, upper, champion, challenger, verdict)
        if not moments or moments[-1][1:] != moment[1:]:
            moments.append(moment)
    return moments


def _harm(axes: "Axes", name: str, metric: MetricResult, points: list[Moment]) -> None:
    colour, margin = TONES[metric.verdict], 100 * metric.margin
    verdict = verdict_text(metric.verdict, metric.upper, metric.margin) if points else "no data"
    axes.set_title(
        fill(f"{TITLES[name]}: {verdict}", LONGEST_TITLE), color=colour, loc="left", fontsize=10.5, fontweight="bold"
    )
    axes.axhline(0, color="0.7", linewidth=1)
    decides = metric.margin < NEVER
    if decides:
        axes.axhline(margin, color=BAD, linewidth=1.2, linestyle="--")
        axes.annotate(f"margin {margin:g}", (1, margin), xycoords=("axes fraction", "data"), xytext=(-4, 3),
                      textcoords="offset points", color=BAD, fontsize=SMALL, ha="right")  # fmt: skip
    axes.set_ylabel("harm, points", fontsize=SMALL)
    if not points:
        return
    seconds = [point.seconds for point in points]
    harm, lower, upper = (
        [100 * value for value in values]
        for values in zip(*((point.harm, point.lower, point.upper) for point in points), strict=True)
    )
    end = seconds[-1] + 0.04 * max(seconds[-1] - seconds[0], 1.0)  # so that the last bounds are seen
    band = [*seconds, end], [*lower, lower[-1]], [*upper, upper[-1]]
    axes.fill_between(*band, color=colour, alpha=0.18, linewidth=0, step="post")
    axes.plot([*seconds, end], [*harm, harm[-1]], color=colour, linewidth=1.8)
    settled = len(points) // 3  # the first bounds are wide, and would leave the later ones no room
    visible = [value for value in (*lower[settled:], *upper[settled:]) if abs(value) < 100]
    low, high = min([*visible, *harm, 0.0]), max([*visible, *harm, margin if decides else 1.0])
    room = 0.12 * (high - low)
    axes.set_ylim(max(low - room, -104), min(high + 2 * room, 104))
    axes.scatter(seconds, [0.03] * len(points), c=[TONES[point.verdict] for point in points], s=9, linewidths=0,
                 transform=axes.get_xaxis_transform(), zorder=3)  # fmt: skip


def _shares(axes: "Axes", metric: MetricResult, points: list[Moment]) -> None:
    """Both revisions' bad shares over time."""
    seconds = [point.seconds for point in points]
    for who, values, colour, role in (
        ("champion", [point.champion for point in points], CHAMPION, metric.champion),
        ("challenger", [point.challenger for point in points], CHALLENGER, metric.challenger),
    ):
        shares = [100 * value for value in values if value is not None]
        if role is None or not shares or len(shares) < len(values):
            continue
        label = f"{who}: {role.bad} of {role.total}"
        axes.plot(seconds, shares, color=colour, linewidth=1.8, label=label, marker="o" if len(shares) == 1 else None)
    axes.set_ylabel("%", fontsize=SMALL)
    axes.set_ylim(bottom=0)
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(1.45 * high, 1.0))
    if axes.lines:
        axes.legend(fontsize=SMALL, frameon=False, loc="upper left")


def _mark_phases(axes: "Axes", result: RolloutResult, points: list[Moment], named: bool) -> None:
    """Draw a thin line where a phase or step begins, within the time of the points, with its name where it fits."""
    if not points:
        return
    first, last = points[0].seconds, points[-1].seconds
    room = 0.04 * max(last - first, 1.0)
    axes.set_xlim(first - room, last + room)
    for period in result.periods:
        start, end = max(period.started_s, first), min(period.ended_s, last)
        if period.started_s > first:
            axes.axvline(period.started_s, color="0.8", linewidth=0.8)
        name = PHASES.get(period.name, f"{period.percent}%")
        if named and end - start > LETTER * len(name) * (last - first):
            axes.annotate(name, ((start + end) / 2, 0.97), xycoords=("data", "axes fraction"), fontsize=SMALL,
                          color="0.45", ha="center", va="top")  # fmt: skip


def traffic_chart(result: RolloutResult, outcome: str, width: float) -> "Figure":
    """The challenger's share of traffic over time, with the names of phases and steps.

    Args:
        result: with periods.
        outcome: the title of the outcome.
        width: of the figure, in inches.
    """
    figure = new_figure(width, 2.2)
    axes = figure.subplots()
    end = max(result.seconds, 0.1)
    for index, period in enumerate(result.periods):
        start, stop = period.started_s, max(period.ended_s, period.started_s + end / 200)
        axes.fill_between([start, stop], period.percent, color=CHALLENGER, alpha=0.25, linewidth=0)
        axes.plot([start, stop], [period.percent] * 2, color=CHALLENGER, linewidth=2)
        label = PHASES.get(period.name, f"{period.percent}%")
        axes.annotate(label, ((start + stop) / 2, period.percent), xytext=(0, 4 + 10 * (index % 2)),
                      textcoords="offset points", ha="center", fontsize=SMALL, color=INK)  # fmt: skip
    final = 100 if result.outcome == "promoted" else 0
    tone = CHAMPION if result.outcome == "held" else GOOD if final else BAD
    axes.plot([end, end * 1.06], [final] * 2, color=tone, linewidth=3)
    axes.annotate(outcome.lower(), (end * 1.06, final), xytext=(4, -3), textcoords="offset points", color=tone,
                  fontsize=SMALL)  # fmt: skip
    axes.set(ylim=(-3, 112), xlim=(0, end * (1.06 + 1 / width)), xlabel="seconds", ylabel="% of traffic")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
