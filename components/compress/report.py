"""The section of the run's report about the step `compress`."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from slipway.components.compress.result import CompressResult, VariantResult
from slipway.components.step_runtime import html
from slipway.components.step_runtime.step_result import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"teacher": "tab:blue", "student": "tab:orange", "pruned": "tab:purple"}
GOOD, BAD, SOFT = "#1a7f4b", "#b3261e", "#5b6675"
LABEL_GAP, LABEL_HEIGHT = 0.1, 0.22
"""Least distance of two labels, as a share of the chart's height, when they are few; and the height that a label needs,
in inches.
"""


def scalars(result: CompressResult) -> dict[str, float]:
    """Values to compare over runs."""
    chosen = result.delivered
    return {
        "macro_f1": chosen.macro_f1,
        "accuracy": chosen.accuracy,
        "size_bytes": chosen.size_bytes,
        "latency_ms_batch_1": chosen.latency(1),
        "times_faster": result.teacher.latency(1) / chosen.latency(1),
    }


def section(result: CompressResult) -> str:
    """HTML fragment: facts, the Pareto chart, and the table of all variants with the reasons."""
    rows, teacher = result.candidates, result.teacher
    chosen = result.delivered
    facts = {
        "Chosen": chosen.name,
        "Macro-F1, validation (teacher)": f"{chosen.macro_f1:.3f} ({teacher.macro_f1:.3f})",
        "Kept of it": f"{chosen.kept:.1%}, at least {chosen.kept_at_least:.1%}",
        "Faster than the teacher, batch 1": f"{teacher.latency(1) / chosen.latency(1):.1f} x",
        "Faster, batch 32": f"{teacher.latency(32) / chosen.latency(32):.1f} x",
        "Smaller": f"{teacher.size_bytes / chosen.size_bytes:.1f} x",
    }
    if calibration := result.calibration:
        facts["Calibration error, validation (before)"] = f"{calibration.error:.3f} ({calibration.error_before:.3f})"
    caption = (
        "Quality and latency of the variants; the area of a circle is the size on disk, and the grey line joins "
        "those that none beats in both. A bar ends at the macro-F1 that a variant is sure to keep; below the red line "
        "nothing is chosen."
    )
    note = (
        f"Medians of {number(result.settings, 'latency_rounds')} rounds from text to logits with {result.threads} "
        "threads, all variants in turn on the same validation texts. Logits of the exported models differ from "
        f"torch's by at most {result.tolerance.measured:.1g} of the largest; allowed is "
        f"{result.tolerance.allowed:.0g}. Kept is the share of the teacher's macro-F1, with the lower bound of a "
        f"paired bootstrap ({number(result.settings, 'quality_confidence'):.0%}), which must reach "
        f"{number(result.settings, 'quality_share'):.0%}. Latency is median / 95th percentile."
    )
    if calibration:
        note += (
            f" The delivered variant divides its logits by the temperature {calibration.temperature:.3f}, fitted on "
            "the validation split. Its expected calibration error there would by chance alone be "
            f"{calibration.error_by_chance:.3f}."
        )
    budget = result.budget
    if budget.exhausted:
        note += (
            f" The budget of {budget.seconds:g} s was spent before these were ready: "
            f"{', '.join(budget.unfinished)}; this is the best so far."
        )
    headers = [
        "Variant",
        "Macro-F1",
        "Accuracy",
        "Kept, at least",
        "ms, batch 1",
        "ms, batch 8",
        "ms, batch 32",
        "MB",
        "Parameters",
        "Made in",
        "Verdict",
    ]
    chosen_row = rows.index(chosen)
    return "\n".join(
        [
            html.heading("Compression"),
            html.notice(f"{chosen.name} is chosen: {chosen.reason}.", "good"),
            html.facts(facts),
            html.figure(partial(pareto_chart, result), caption),
            html.table(headers, [_row(row) for row in rows], chosen_row),
            html.paragraph(note),
            *(html.paragraph(f"{name} was given up: {reason}.") for name, reason in result.given_up.items()),
            html.details(
                "Settings", html.table(["Setting", "Value"], [[k, str(v)] for k, v in result.settings.items()])
            ),
        ]
    )


def _row(row: VariantResult) -> list[str]:
    return [
        row.name,
        f"{row.macro_f1:.3f}",
        f"{row.accuracy:.3f}",
        f"{row.kept:.1%}, {row.kept_at_least:.1%}",
        *(f"{row.latency(size):.2f} / {row.latency_p95(size):.2f}" for size in (1, 8, 32)),
        f"{row.size_bytes / 1e6:.1f}",
        f"{row.parameters / 1e6:.1f} M",
        f"{row.seconds:.0f} s",
        ("chosen: " if row.chosen else "") + row.reason,
    ]


def pareto_chart(result: CompressResult, width: float) -> "Figure":
    """Latency at batch 1 (logarithmic) against macro-F1, with the floor, the front and a label for each variant.

    The labels of a narrow chart have no numbers: those are in the table.
    """
    rows = result.candidates
    figure = html.new_figure(width, max(4.4, 1 + LABEL_HEIGHT * len(rows)))
    axes = figure.subplots()
    largest = max(row.size_bytes for row in rows)
    for row in rows:
        colour = COLOURS[row.name.split("-")[0]]
        area = 900 * row.size_bytes / largest
        axes.scatter(row.latency(1), row.macro_f1, s=area, color=colour, alpha=0.45, edgecolor=colour, zorder=3)
        axes.scatter(row.latency(1), row.macro_f1, s=9, color=colour, zorder=4)
        if row.chosen:
            axes.scatter(row.latency(1), row.macro_f1, s=area + 260, facecolor="none", edgecolor=GOOD, linewidth=2.5)
    lower_bounds = [result.teacher.macro_f1 * row.kept_at_least for row in rows]
    for row, low in zip(rows, lower_bounds, strict=True):
        colour = COLOURS[row.name.split("-")[0]]
        axes.vlines(row.latency(1), low, max(low, row.macro_f1), color=colour, linewidth=1, zorder=2)
    front = _front(rows)
    axes.plot([row.latency(1) for row in front], [row.macro_f1 for row in front], color="0.6", zorder=1)
    _scale(axes, rows, result.floor)
    axes.axhline(result.floor, color=BAD, linestyle="--", linewidth=1)
    transform = axes.get_yaxis_transform()
    axes.text(0.005, result.floor, f"floor {result.floor:.3f}", color=BAD, va="bottom", transform=transform)
    _label(axes, rows, width == html.WIDE)
    axes.set(xlabel="median latency at batch 1 (ms, logarithmic)", ylabel="macro-F1, validation split")
    return figure


def _front(rows: Sequence[VariantResult]) -> list[VariantResult]:
    """The rows on the Pareto front of latency and macro-F1, the fastest first."""
    front: list[VariantResult] = []
    for row in sorted(rows, key=lambda row: (row.latency(1), -row.macro_f1)):
        if not front or row.macro_f1 > front[-1].macro_f1:
            front.append(row)
    return front


def _scale(axes: "Axes", rows: Sequence[VariantResult], floor: float) -> None:
    """Set the limits of the axes, with room around all points and the floor, and ticks with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter  # imported here as in `html.new_figure`

    scores, latencies = [floor, *(row.macro_f1 for row in rows)], [row.latency(1) for row in rows]
    room = max(0.02, 0.2 * (max(scores) - min(scores)))
    axes.set(xscale="log", ylim=(min(scores) - room, max(scores) + room))
    axes.set_xlim(min(latencies) / 1.3, max(latencies) * 1.3)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)


def _label(axes: "Axes", rows: Sequence[VariantResult], numbers: bool) -> None:
    """Write the labels in a column beside the chart, from the best to the worst, each with a line to its point."""
    ordered = sorted(rows, key=lambda row: (row.macro_f1, row.latency(1)))
    low, high = axes.get_ylim()
    heights = spread([(row.macro_f1 - low) / (high - low) for row in ordered], min(LABEL_GAP, 1 / len(rows)))
    for row, height in zip(ordered, heights, strict=True):
        suffix = f"  {row.latency(1):.2f} ms, {row.size_bytes / 1e6:.0f} MB" if numbers else ""
        axes.annotate(
            f"{row.name}{suffix}",
            (row.latency(1), row.macro_f1),
            xytext=(1.03, height),
            textcoords="axes fraction",
            va="center",
            fontsize=None if numbers else html.SMALL,
            color=GOOD if row.chosen else "black" if row.eligible else SOFT,
            fontweight="bold" if row.chosen else "normal",
            arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.8, "relpos": (0, 0.5)},
            annotation_clip=False,
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move heights so that they are `gap` apart: first upwards, then downwards, each as little as needed.

    Args:
        heights: between 0 and 1, ascending.
        gap: least distance; all heights must fit with it.
    """
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + gap) if moved else height)
    ceiling = 1.0 + gap
    for index in reversed(range(len(moved))):
        ceiling = min(moved[index], ceiling - gap)
        moved[index] = ceiling
    return moved
