"""Draw a sample of the training texts, and divide it into stratified folds."""

import numpy as np
import numpy.typing as npt

from slipway.components.errors import BadInput
from slipway.components.learning.group_parts import divide

Indices = npt.NDArray[np.int64]

LARGEST_FOLD = 2 / 3
"""With a greater fold, made by one group, too little is left to train on when it is held out."""


def texts_used(texts: int, class_texts: int, classes: int) -> int:
    """The number of texts to draw: `texts`, but `class_texts` for each class at least; 0 for all."""
    return max(texts, class_texts * classes) if texts else 0


def draw(label_ids: Indices, count: int, seed: int) -> Indices:
    """Draw a stratified sample of texts.

    Each class has its share of the sample, rounded by largest remainders, but at least one text. A class that is
    rounded up to one text gets no second one by its remainder.

    Args:
        label_ids: class of each text, shape (texts,).
        count: number of texts; 0, or more than there are, takes all.
        seed: of the draw.

    Returns:
        Indices of the texts, ascending.
    """
    total = len(label_ids)
    if not 0 < count < total:
        return np.arange(total)
    generator = np.random.default_rng([seed, 0])
    classes, sizes = np.unique(label_ids, return_counts=True)
    exact = sizes * count / total
    numbers = np.maximum(np.floor(exact).astype(np.int64), 1)
    for index in np.argsort(numbers - exact, kind="stable")[: max(0, count - int(numbers.sum()))]:
        numbers[index] += 1
    while numbers.sum() > count and numbers.max() > 1:
        numbers[numbers.argmax()] -= 1
    parts = [
        generator.choice(np.flatnonzero(label_ids == label), number, replace=False)
        for label, number in zip(classes, numbers, strict=True)
    ]
    return np.sort(np.concatenate(parts)).astype(np.int64)


def assign_folds(label_ids: Indices, folds: int, seed: int, groups: Indices | None = None) -> Indices:
    """The fold of each text, shape (texts,).

    The texts of a class are shuffled and assigned to the folds in turn. Each class begins at the fold after the last
    one of the class before. So the sizes of the folds differ by one text at most, also within each class.

    Args:
        label_ids: class of each text, shape (texts,).
        folds: number of folds.
        seed: of the order.
        groups: group of each text, shape (texts,). Each is then in one fold; see `learning.group_parts`.

    Raises:
        BadInput: there are fewer groups than folds, or one group has nearly everything.
    """
    if groups is not None:
        return _whole_groups(label_ids, folds, seed, groups)
    generator = np.random.default_rng([seed, 1])
    result = np.zeros(len(label_ids), dtype=np.int64)
    assigned = 0
    for label in np.unique(label_ids):
        rows = generator.permutation(np.flatnonzero(label_ids == label))
        result[rows] = (assigned + np.arange(len(rows))) % folds
        assigned += len(rows)
    return result


def _whole_groups(label_ids: Indices, folds: int, seed: int, groups: Indices) -> Indices:
    """The fold of each text when groups stay whole.

    Raises:
        BadInput: there are fewer groups than folds, or one group has nearly everything.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    if len(sizes) < folds:
        raise BadInput(
            f"{len(sizes)} groups of training texts are too few for {folds} folds; set select.folds to less, or "
            "add texts of other groups"
        )
    if sizes.max() > LARGEST_FOLD * len(groups):
        raise BadInput(
            f"one group has {sizes.max()} of the {len(groups)} texts that select_model compares with, so the fold with "
            "it leaves too few to train on; leave some of its texts out, or give no more than one of select.candidates"
        )
    result = divide(label_ids.tolist(), groups.tolist(), [1 / folds] * folds, seed)
    return np.asarray(result, dtype=np.int64)
