"""Measure the quality and the latency of variants on this machine, from text to logits as in a model server."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slipway.components.learning.scores import accuracy, confusion_matrix, macro_f1

BATCH_SIZES = (1, 8, 32)
Timings = dict[int, list[float]]
"""Batch size to milliseconds in each round."""
Indices = npt.NDArray[np.int64]


class Predicts(Protocol):
    """A classifier whose latency can be measured."""

    def logits(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Logits of the texts, shape (texts, classes)."""


def quality(predicted: Indices, label_ids: Indices, classes: int) -> tuple[float, float]:
    """Accuracy and macro-averaged F1 over the labels that occur, both from 0 to 1.

    Args:
        predicted: predicted classes, shape (texts,).
        label_ids: true classes, shape (texts,).
        classes: number of classes.
    """
    confusion = confusion_matrix(label_ids, predicted, classes)
    return float(accuracy(confusion)), float(macro_f1(confusion))


def time_side_by_side(
    classifiers: Mapping[str, Predicts],
    texts: Sequence[str],
    rounds: int,
    seed: int,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> dict[str, Timings]:
    """Measure milliseconds from text to logits for each classifier, batch size and round.

    In a round all classifiers get the same texts, one classifier after another, in an order that changes from round to
    round. So other work on the machine slows all of them alike, and times of the same round can be compared.

    Args:
        classifiers: by name.
        texts: to draw batches from; they keep their natural lengths.
        rounds: number of measurements.
        seed: of batches and orders.
        batch_sizes: texts of a batch.

    Returns:
        Name to timings.
    """
    generator = np.random.default_rng(seed)
    timings: dict[str, Timings] = {name: {size: [] for size in batch_sizes} for name in classifiers}
    names = list(classifiers)
    for _ in range(rounds):
        for size in batch_sizes:
            batch = [texts[index] for index in generator.choice(len(texts), size)]
            for name in generator.permutation(names):
                timings[name][size].append(_milliseconds(classifiers[name], batch))
    return timings


def _milliseconds(classifier: Predicts, batch: Sequence[str]) -> float:
    """The time of one call in milliseconds.

    A call with one text goes before: it wakes this classifier's threads, and gives those of the others time to sleep.
    """
    classifier.logits(batch[:1])
    start = perf_counter()
    classifier.logits(batch)
    return (perf_counter() - start) * 1000
