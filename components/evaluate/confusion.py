"""A confusion matrix of readable size: with many classes, those that are confused most."""

from collections.abc import Sequence

import numpy as np

MOST_CLASSES = 24
"""Most rows of the matrix. In the Kubeflow Pipelines UI (2.17) it is 700 pixels wide, and a count of four digits needs
28 pixels; a larger matrix would not fit into the panel. The metadata of a matrix of this size are less than 10 KB; they
are in the launcher's log, in the metadata store and in every page that lists artifacts.
"""


def readable(
    labels: Sequence[str], counts: Sequence[Sequence[int]], most: int = MOST_CLASSES
) -> tuple[list[str], list[list[int]]]:
    """Reduce a confusion matrix to at most `most` rows and columns. Rows are true classes, columns predicted ones.

    Of more classes, those with the most wrong predictions in row and column are kept, in their order. The last row and
    column have the sums over all other classes, so that the total stays the same.

    Args:
        labels: names of the classes.
        counts: shape (classes, classes) or with a further column of unknown labels, which is left out.
        most: largest number of rows of the result.

    Returns:
        Names of the rows, and the counts.
    """
    square = np.asarray(counts)[:, : len(labels)]
    if len(labels) <= most:
        return list(labels), square.tolist()
    wrong = square.sum(axis=0) + square.sum(axis=1) - 2 * np.diagonal(square)
    kept = np.sort(np.argsort(-wrong, kind="stable")[: most - 1])
    row_of_class = np.full(len(labels), most - 1)
    row_of_class[kept] = np.arange(most - 1)
    reduced = np.zeros((most, most), dtype=np.int64)
    np.add.at(reduced, (row_of_class[:, None], row_of_class[None, :]), square)
    others = f"({len(labels) - most + 1} other classes)"
    while others in labels:
        others = f"({others})"
    return [*(labels[index] for index in kept), others], reduced.tolist()
