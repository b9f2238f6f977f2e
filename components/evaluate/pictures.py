"""The pictures of the step `evaluate`."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CHALLENGER, CHAMPION, GOOD, BAD = "#2f5d9e", "#b9c3d1", "#1a7f4b", "#b3261e"
MOST_NUMBERS = 16
"""Classes up to which the cells of a confusion matrix are labelled with counts."""


def difference(result: dict[str, Any]) -> Figure:
    """Histogram of the resampled difference of macro-F1, its interval, and the limit of the gate."""
    values, limit = result["difference"]["macro_f1"], -result["settings"]["max_drop"]
    counts, edges = (np.asarray(result["difference"]["histogram"][name]) for name in ("counts", "edges"))
    colour = GOOD if values["low"] >= limit else BAD
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    axes = figure.subplots()
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=CHAMPION)
    axes.axvspan(values["low"], values["high"], color=colour, alpha=0.15)
    axes.axvline(values["value"], color=colour, linewidth=2, label=f"measured {values['value']:+.3f}")
    axes.axvline(limit, color="black", linestyle="--", linewidth=1.5, label=f"limit {limit:+.3f}")
    axes.axvline(0, color="0.5", linewidth=1)
    axes.set(xlabel="difference of macro-F1 (to the right: the challenger is better)", yticks=[])
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return figure


def classes(result: dict[str, Any]) -> Figure:
    """A pair of bars for each class: F1 of the challenger and of the champion."""
    challenger, champion = result["challenger"]["classes"], result["champion"]
    rows = np.arange(len(challenger))
    figure = Figure(figsize=(10, 0.9 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    height = 0.38 if champion else 0.7
    scores = [item["f1"] for item in challenger]
    axes.barh(rows - (height / 2 if champion else 0), scores, height, color=CHALLENGER, label="challenger")
    if champion:
        others = [item["f1"] for item in champion["classes"]]
        axes.barh(rows + height / 2, others, height, color=CHAMPION, label=f"champion {champion['version']}")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False).set_in_layout(True)
        axes.set_ylim(len(rows) - 0.4, -1.3)
    else:
        axes.invert_yaxis()
    for row, value in zip(rows, scores, strict=True):
        axes.text(value + 0.005, row - (height / 2 if champion else 0), f"{value:.2f}", va="center", fontsize=8)
    axes.set_yticks(rows, [f"{item['label']} ({item['support']})" for item in challenger])
    axes.set(xlim=(0, 1.06), xlabel="F1 (number of test texts in brackets)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def confusion_and_calibration(result: dict[str, Any]) -> Figure:
    """Confusion matrix and reliability diagram of the challenger side by side."""
    size = min(3.6 + 0.16 * len(result["labels"]), 8)
    figure = Figure(figsize=(10, size), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _confusion(left, result)
    _reliability(right, result)
    return figure


def _confusion(axes: Axes, result: dict[str, Any]) -> None:
    labels = result["labels"]
    counts = np.asarray(result["challenger"]["confusion"])[:, : len(labels)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(labels)), labels, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set(xlabel="answer", ylabel="true class")
    if len(labels) > MOST_NUMBERS:
        return
    for row, column in np.argwhere(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)


def _reliability(axes: Axes, result: dict[str, Any]) -> None:
    """Share of right answers over mean confidence (DeGroot and Fienberg 1983); dots show how many texts."""
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    models = [("challenger", result["challenger"], CHALLENGER)]
    if result["champion"]:
        models.insert(0, ("champion", result["champion"], CHAMPION))
    for name, scores, colour in models:
        points = [(item["confidence"], item["accuracy"], item["count"]) for item in scores["bins"]]
        confidence, right, counts = np.asarray(points, dtype=float).T
        label = f"{name}: error {scores['calibration_error']:.3f}"
        axes.plot(confidence, right, color=colour, linewidth=1.5, label=label)
        axes.scatter(confidence, right, s=20 + 300 * counts / counts.sum(), color=colour, alpha=0.8)
    axes.set(xlim=(0, 1.05), ylim=(0, 1.05), xlabel="confidence", ylabel="share right", aspect="equal")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
