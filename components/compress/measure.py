"""What a variant is worth on this machine: its quality and its latency, measured as it will be served."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from slipway.components.learning.scores import accuracy, confusion_matrix, macro_f1

BATCH_SIZES = (1, 8, 32)
Timings = dict[int, list[float]]
"""Batch size -> milliseconds in each round."""
Indices = npt.NDArray[np.int64]


class Predicts(Protocol):
    """What can be timed."""

    def logits(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Logits of the texts, shape (texts, classes)."""


def quality(predicted: Indices, label_ids: Indices, classes: int) -> tuple[float, float]:
    """Accuracy and macro-averaged F1 over the labels that occur, both from 0 to 1."""
    confusion = confusion_matrix(label_ids, predicted, classes)
    return float(accuracy(confusion)), float(macro_f1(confusion))


def time_side_by_side(
    classifiers: Mapping[str, Predicts],
    texts: Sequence[str],
    rounds: int,
    seed: int,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> dict[str, Timings]:
    """Milliseconds from text to logits, for each classifier, batch size and round; texts have their natural lengths.

    In a round all classifiers get the same texts, one after another in an order that changes from round to round,
    so that whatever else the machine does slows all of them alike; their times in the same round may be compared.
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
    """The time of one call, after another with one text: it wakes its threads and lets those of others come to rest."""
    classifier.logits(batch[:1])
    start = perf_counter()
    classifier.logits(batch)
    return (perf_counter() - start) * 1000
