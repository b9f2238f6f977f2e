"""What a variant is worth on this machine: its quality and its latency, measured as it will be served."""

from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, f1_score

from components.classifier import Classifier

BATCH_SIZES = (1, 16)
Timings = dict[int, list[float]]
"""Batch size -> milliseconds in each round."""


def quality(classifier: Classifier, texts: Sequence[str], label_ids: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Accuracy and macro-averaged F1 over the labels that occur, both from 0 to 1."""
    predicted = classifier.logits(texts).argmax(axis=1)
    macro_f1 = f1_score(label_ids, predicted, average="macro", zero_division=0)
    return float(accuracy_score(label_ids, predicted)), float(macro_f1)


def time_side_by_side(
    classifiers: Mapping[str, Classifier], texts: Sequence[str], rounds: int, seed: int
) -> dict[str, Timings]:
    """Milliseconds from text to logits, for each classifier, batch size and round.

    In a round all classifiers get the same texts, one after another in an order that changes from round to round,
    so that whatever else the machine does slows all of them alike; their times in the same round may be compared.
    """
    generator = np.random.default_rng(seed)
    timings: dict[str, Timings] = {name: {size: [] for size in BATCH_SIZES} for name in classifiers}
    names = list(classifiers)
    for _ in range(rounds):
        for size in BATCH_SIZES:
            batch = [texts[index] for index in generator.choice(len(texts), size)]
            for name in generator.permutation(names):
                timings[name][size].append(_milliseconds(classifiers[name], batch))
    return timings


def _milliseconds(classifier: Classifier, batch: Sequence[str]) -> float:
    """The time of one call, after another with one text: it wakes its threads and lets those of others come to rest."""
    classifier.logits(batch[:1])
    start = perf_counter()
    classifier.logits(batch)
    return (perf_counter() - start) * 1000
