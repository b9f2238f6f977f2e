"""The figures of the step `evaluate` for the report."""

from typing import TYPE_CHECKING

import numpy as np

from slipway.components.evaluate.confusion import readable
from slipway.components.evaluate.result import Difference, EvaluateResult, ModelScores
from slipway.components.learning.scores import Counts
from slipway.components.step_runtime.html import SMALL, WIDE, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CHALLENGER, CHAMPION, GOOD, BAD = "#2f5d9e", "#b9c3d1", "#1a7f4b", "#b3261e"
ROW_INCHES = 0.18
"""Height of a row of a confusion matrix, so that the names of rows do not overlap."""
CELL_INCHES = 0.26
"""Least width of a cell of a confusion matrix that shows its count."""
NAME_INCHES = 0.2
"""Least width of a column that shows its name, so that names do not overlap."""
MOST_BARS = 24
"""With more classes, only the worst ones have bars."""


def difference(measured: Difference, limit: float, width: float) -> "Figure":
    """Histogram of the resampled difference of macro-F1, its interval, and the limit of the gate.

    Args:
        measured: challenger minus champion.
        limit: the least lower end of the interval that passes the gate.
        width: of the figure, in inches.
    """
    values, counts, edges = (
        measured.macro_f1,
        np.asarray(measured.histogram.counts),
        np.asarray(measured.histogram.edges),
    )
    colour = GOOD if values.low >= limit else BAD
    figure = new_figure(width, 2.6)
    axes = figure.subplots()
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=CHAMPION)
    axes.axvspan(values.low, values.high, color=colour, alpha=0.15)
    axes.axvline(values.value, color=colour, linewidth=2, label=f"measured {values.value:+.3f}")
    axes.axvline(limit, color="black", linestyle="--", linewidth=1.5, label=f"limit {limit:+.3f}")
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set(xlabel="difference of macro-F1 (to the right: the challenger is better)", yticks=[])
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def classes(result: EvaluateResult, width: float) -> "Figure":
    """F1 of challenger and champion, as a pair of bars for each class; of many classes, for the worst ones."""
    shown, champion = weakest(result), result.champion
    challenger = [result.challenger.classes[index] for index in shown]
    rows = np.arange(len(challenger))
    figure = new_figure(width, 0.9 + 0.42 * len(rows))
    axes = figure.subplots()
    height = 0.38 if champion else 0.7
    scores = [item.f1 for item in challenger]
    axes.barh(rows - (height / 2 if champion else 0), scores, height, color=CHALLENGER, label="challenger")
    if champion:
        others = [champion.classes[index].f1 for index in shown]
        axes.barh(rows + height / 2, others, height, color=CHAMPION, label=f"champion {champion.version}")
        figure.legend(loc="outside upper center", ncols=2, frameon=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    for row, value in zip(rows, scores, strict=True):
        axes.text(value + 0.005, row - (height / 2 if champion else 0), f"{value:.2f}", va="center", fontsize=SMALL)
    axes.set_yticks(rows, [f"{shortened(item.label, width)} ({item.support})" for item in challenger])
    axes.set(xlim=(0, 1 + 0.6 / width), xlabel="F1 (test texts in brackets)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def weakest(result: EvaluateResult) -> list[int]:
    """Indices of the classes that have bars: all of them, or of many classes those with the lowest F1, lowest first."""
    scores = [item.f1 for item in result.challenger.classes]
    all_classes = list(range(len(scores)))
    return all_classes if len(all_classes) <= MOST_BARS else sorted(all_classes, key=scores.__getitem__)[:MOST_BARS]


def confusion_and_calibration(result: EvaluateResult, width: float) -> "Figure":
    """Confusion matrix and reliability diagram of the challenger: side by side, or in a narrow figure one below the
    other.
    """
    labels, counts = readable(result.labels, result.challenger.confusion)
    height = max(2.8, ROW_INCHES * len(labels))
    if width == WIDE:
        figure = new_figure(width, height + 1.5)
        matrix, reliability = figure.subplots(1, 2, width_ratios=(1.25, 1))
        cell = 3.5 / len(labels)
    else:
        figure = new_figure(width, height + 5)
        matrix, reliability = figure.subplots(2, 1, height_ratios=(height, 3.2))
        cell = 2.6 / len(labels)
    show_counts, show_names = cell >= CELL_INCHES, cell >= NAME_INCHES
    _confusion(matrix, [shortened(label, width) for label in labels], np.asarray(counts), show_counts, show_names)
    _reliability(reliability, result)
    return figure


def _confusion(axes: "Axes", labels: list[str], counts: Counts, show_counts: bool, show_names: bool) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if show_names:
        axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=SMALL)
    else:
        axes.set_xticks([])
    axes.set_yticks(range(len(labels)), labels, fontsize=SMALL)
    axes.set(xlabel="answer" if show_names else "answer, in the order of the rows", ylabel="true class")
    if not show_counts:
        return
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=SMALL)


def _reliability(axes: "Axes", result: EvaluateResult) -> None:
    """Share of right predictions over mean confidence (DeGroot and Fienberg 1983); dots show the number of texts."""
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    models: list[tuple[str, ModelScores, str]] = [("challenger", result.challenger, CHALLENGER)]
    if result.champion:
        models.insert(0, ("champion", result.champion, CHAMPION))
    for name, scores, colour in models:
        points = [(item.confidence, item.accuracy, item.count) for item in scores.bins]
        confidence, right, counts = np.asarray(points, dtype=float).T
        label = f"{name}: error {scores.calibration_error:.3f}"
        axes.plot(confidence, right, color=colour, linewidth=1.5, label=label)
        axes.scatter(confidence, right, s=20 + 300 * counts / counts.sum(), color=colour, alpha=0.8)
    axes.set(xlim=(0, 1.05), ylim=(0, 1.05), xlabel="confidence", ylabel="share right", aspect="equal")
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
