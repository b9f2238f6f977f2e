"""Stratified folds: every class is spread evenly over them."""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def draw(label_ids: Indices, count: int, seed: int) -> Indices:
    """Indices of `count` texts (all when 0 or too many), of each class its share, at least one; in order.

    Shares are rounded by largest remainder; a class that got its one text so gets no second one by its remainder.
    """
    total = len(label_ids)
    if not 0 < count < total:
        return np.arange(total)
    generator = np.random.default_rng([seed, 0])
    classes, sizes = np.unique(label_ids, return_counts=True)
    exact = sizes * count / total
    taken = np.maximum(np.floor(exact).astype(np.int64), 1)
    for index in np.argsort(taken - exact, kind="stable")[: max(0, count - int(taken.sum()))]:
        taken[index] += 1
    while taken.sum() > count and taken.max() > 1:
        taken[taken.argmax()] -= 1
    parts = [
        generator.choice(np.flatnonzero(label_ids == label), number, replace=False)
        for label, number in zip(classes, taken, strict=True)
    ]
    return np.sort(np.concatenate(parts)).astype(np.int64)


def assign_folds(label_ids: Indices, folds: int, seed: int) -> Indices:
    """The fold of each text, shape (texts,).

    The texts of a class are shuffled and dealt out in turn, each class beginning where the one before ended, so that
    both the classes and the folds as a whole differ by one text at most.
    """
    generator = np.random.default_rng([seed, 1])
    result = np.zeros(len(label_ids), dtype=np.int64)
    dealt = 0
    for label in np.unique(label_ids):
        rows = generator.permutation(np.flatnonzero(label_ids == label))
        result[rows] = (dealt + np.arange(len(rows))) % folds
        dealt += len(rows)
    return result
