"""A confusion matrix that a person can read: with many classes, those that are confused most."""

from collections.abc import Sequence

import numpy as np

MOST_CLASSES = 24
"""In the Kubeflow Pipelines UI (2.17) the matrix is 700 pixels wide and a count of four digits takes 28 of them; a
bigger one scrolls out of the panel. Its metadata stay below 10 KB: they travel through the launcher's log, the
metadata store and every page that lists artifacts."""


def readable(
    labels: Sequence[str], counts: Sequence[Sequence[int]], most: int = MOST_CLASSES
) -> tuple[list[str], list[list[int]]]:
    """Labels and counts of at most `most` rows and columns; rows are true classes, columns answers.

    Of more classes, those with the most wrong answers in row and column stay, in their order, and the last row and
    column hold the sums over all others, so that the total is kept.

    Args:
        labels: names of the classes.
        counts: shape (classes, classes) or with a further column of unknown labels, which is left out.
        most: rows of the result.
    """
    square = np.asarray(counts)[:, : len(labels)]
    if len(labels) <= most:
        return list(labels), square.tolist()
    wrong = square.sum(axis=0) + square.sum(axis=1) - 2 * np.diagonal(square)
    kept = np.sort(np.argsort(-wrong, kind="stable")[: most - 1])
    place = np.full(len(labels), most - 1)
    place[kept] = np.arange(most - 1)
    folded = np.zeros((most, most), dtype=np.int64)
    np.add.at(folded, (place[:, None], place[None, :]), square)
    others = f"({len(labels) - most + 1} other classes)"
    while others in labels:
        others = f"({others})"
    return [*(labels[index] for index in kept), others], folded.tolist()
