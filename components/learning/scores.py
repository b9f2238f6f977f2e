"""Scores of predictions: accuracy, macro-F1, scores of each class, calibration and ROC curves.

Classes are those of the dataset. A predicted index equal to their number stands for a label that the dataset does not
have; an older champion may have such a label. It is always wrong, and is not counted as a class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.integer[Any]]

BINS = 15
"""Number of bins of the calibration."""
MOST_POINTS = 100
"""Most points of a ROC curve, since they are stored as metadata of an artifact."""


@dataclass(frozen=True)
class ClassScore:
    """The scores of one class, from 0 to 1, and its number of texts."""

    label: str
    """Name of the class."""
    precision: float
    """Share of right predictions among the predictions of this class."""
    recall: float
    """Share of its texts that were predicted as this class."""
    f1: float
    """Harmonic mean of precision and recall."""
    support: int
    """Number of its texts."""


@dataclass(frozen=True)
class Bin:
    """The predictions whose confidence is above `low` and at most `high`."""

    low: float
    """Lower end of the bin; a confidence equal to it belongs to the bin below."""
    high: float
    """Upper end of the bin."""
    count: int
    """Number of predictions."""
    confidence: float
    """Mean confidence of the predictions."""
    accuracy: float
    """Share of right predictions."""


@dataclass(frozen=True)
class Scores:
    """All scores of one model. `confusion` has a row for each true class, and a last column for unknown labels."""

    accuracy: float
    macro_f1: float
    calibration_error: float
    classes: list[ClassScore]
    bins: list[Bin]
    confusion: list[list[int]]
    calibration_error_by_chance: float = 0.0
    calibration_error_unscaled: float | None = None


@dataclass(frozen=True)
class RocCurve:
    """The ROC curve of a class: the rates of texts whose probability of the class reaches each threshold, from 0 to 1.

    No text reaches the first threshold: it is 1, or 2 when a text has the probability 1.
    """

    positive: str
    """Name of the class."""
    auc: float
    """Area under the curve."""
    false_positive_rate: list[float]
    """The rate among texts of other classes, at each threshold."""
    true_positive_rate: list[float]
    """The rate among texts of the class, at each threshold."""
    threshold: list[float]
    """Probabilities, descending."""


def roc_curve(positive: npt.NDArray[np.bool_], probability: Floats, label: str) -> RocCurve | None:
    """The ROC curve of a class, with at most `MOST_POINTS` points; None when all texts or no texts are of the class.

    Points are dropped evenly along the curve, so that both its steep part and its flat part keep their shape.

    Args:
        positive: which texts are of the class, shape (texts,).
        probability: of the class, shape (texts,).
        label: the class's name.
    """
    if positive.all() or not positive.any():
        return None
    from sklearn import metrics  # imported here, since it would add a second to the start of every process

    false_positive, true_positive, thresholds = metrics.roc_curve(positive, probability)
    thresholds[0] = 1.0 if thresholds[1] < 1 else 2.0  # in place of infinity, which JSON does not have
    length = false_positive + true_positive
    kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MOST_POINTS)))
    if len(length) <= MOST_POINTS:
        kept = np.arange(len(length))
    auc = float(metrics.auc(false_positive, true_positive))
    return RocCurve(label, auc, false_positive[kept].tolist(), true_positive[kept].tolist(), thresholds[kept].tolist())


def confusion_matrix(truth: Indices, predicted: Indices, classes: int) -> Counts:
    """The confusion matrix, shape (classes, classes + 1): rows are true classes, columns are predicted ones."""
    cells = np.bincount(truth * (classes + 1) + predicted, minlength=classes * (classes + 1))
    return cells.reshape(classes, classes + 1)


def macro_f1(confusion: Counts) -> Floats:
    """Mean F1 over the classes that occur.

    Args:
        confusion: shape (…, classes, classes + 1); the result has the leading dimensions.
    """
    classes = confusion.shape[-2]
    right = np.diagonal(confusion[..., :classes], axis1=-2, axis2=-1)
    return f1_mean(right, confusion.sum(axis=-1), confusion.sum(axis=-2)[..., :classes])


def f1_mean(right: Counts, support: Counts, predicted: Counts) -> Floats:
    """Mean F1 over the classes that occur, from counts of shape (…, classes); the result has the leading dimensions.

    Args:
        right: texts of each class that are predicted as this class.
        support: texts of each class.
        predicted: predictions of each class.
    """
    f1 = 2 * right / np.maximum(support + predicted, 1)
    occurs = support > 0
    return np.asarray((f1 * occurs).sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


def accuracy(confusion: Counts) -> Floats:
    """Share of right predictions, from a confusion matrix; the result has its leading dimensions."""
    right = np.trace(confusion[..., : confusion.shape[-2]], axis1=-2, axis2=-1)
    return np.asarray(right / np.maximum(confusion.sum(axis=(-2, -1)), 1))


def calibration(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> tuple[float, list[Bin]]:
    """Expected calibration error over bins of equal width (Guo et al. 2017, section 2), and the bins that have texts.

    Args:
        confidence: highest probability of each text, shape (texts,).
        right: whether the prediction is right, shape (texts,).
        bins: number of bins between 0 and 1.
    """
    edges, bin_of_text = _binned(confidence, bins)
    used_bins = []
    for index in np.unique(bin_of_text):
        inside = bin_of_text == index
        used_bins.append(
            Bin(
                float(edges[index]),
                float(edges[index + 1]),
                int(inside.sum()),
                float(confidence[inside].mean()),
                float(right[inside].mean()),
            )
        )
    error = sum(item.count * abs(item.accuracy - item.confidence) for item in used_bins) / max(len(confidence), 1)
    return error, used_bins


def calibration_by_chance(confidence: Floats, bins: int = BINS, draws: int = 200, seed: int = 0) -> float:
    """The expected calibration error that a perfectly calibrated model has by chance; fewer texts give a higher one.

    In each draw a prediction is right with its confidence as probability (consistency resampling of Broecker and Smith
    2007, Increasing the reliability of reliability diagrams). An error near this value is no sign of bad calibration.

    Args:
        confidence: highest probability of each text, shape (texts,).
        bins: number of bins between 0 and 1.
        draws: number of draws.
        seed: of the draws.
    """
    if not len(confidence):
        return 0.0
    generator, (_, bin_of_text) = np.random.default_rng(seed), _binned(confidence, bins)
    gaps = [
        np.abs(np.bincount(bin_of_text, (generator.random(len(confidence)) < confidence) - confidence)).sum()
        for _ in range(draws)
    ]
    return float(np.mean(gaps)) / len(confidence)


def _binned(confidence: Floats, bins: int) -> tuple[Floats, Indices]:
    """The edges of the bins, shape (bins + 1,), and the bin of each text, shape (texts,)."""
    edges = np.linspace(0, 1, bins + 1)
    return edges, np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)


def score(
    truth: Indices, predicted: Indices, confidence: Floats, labels: list[str], unscaled: Floats | None = None
) -> Scores:
    """Compute all scores of a model's predictions.

    Args:
        truth: true classes, shape (texts,).
        predicted: predicted classes, shape (texts,); `len(labels)` for an unknown label.
        confidence: probability of the predicted class, shape (texts,).
        labels: the classes' names.
        unscaled: the probability without the model's temperature, shape (texts,); None for a model without one.
    """
    confusion = confusion_matrix(truth, predicted, len(labels))
    error, bins = calibration(confidence, truth == predicted)
    return Scores(
        accuracy=float(accuracy(confusion)),
        macro_f1=float(macro_f1(confusion)),
        calibration_error=error,
        classes=[_class_score(label, confusion, index) for index, label in enumerate(labels)],
        bins=bins,
        confusion=confusion.tolist(),
        calibration_error_by_chance=calibration_by_chance(confidence),
        calibration_error_unscaled=None if unscaled is None else calibration(unscaled, truth == predicted)[0],
    )


def _class_score(label: str, confusion: Counts, index: int) -> ClassScore:
    right, support = int(confusion[index, index]), int(confusion[index].sum())
    predicted = int(confusion[:, index].sum())
    return ClassScore(
        label=label,
        precision=right / predicted if predicted else 0.0,
        recall=right / support if support else 0.0,
        f1=2 * right / (support + predicted) if support + predicted else 0.0,
        support=support,
    )
