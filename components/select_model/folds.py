"""Draw a sample of the training texts, and divide it into stratified folds."""

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


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


def assign_folds(label_ids: Indices, folds: int, seed: int) -> Indices:
    """The fold of each text, shape (texts,).

    The texts of a class are shuffled and assigned to the folds in turn. Each class begins at the fold after the last
    one of the class before. So the sizes of the folds differ by one text at most, also within each class.
    """
    generator = np.random.default_rng([seed, 1])
    result = np.zeros(len(label_ids), dtype=np.int64)
    assigned = 0
    for label in np.unique(label_ids):
        rows = generator.permutation(np.flatnonzero(label_ids == label))
        result[rows] = (assigned + np.arange(len(rows))) % folds
        assigned += len(rows)
    return result
