"""How good predictions are: accuracy, macro-F1, each class, and whether the probabilities can be believed.

Classes are those of the dataset. A predicted index equal to their number means a label that the dataset does not
know (an older champion may have one): always wrong, never counted as a class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating[Any]]
Counts = npt.NDArray[np.integer[Any]]

BINS = 15
MOST_POINTS = 100
"""Of a ROC curve: they travel as metadata of an artifact."""


@dataclass(frozen=True)
class ClassScore:
    """Shares from 0 to 1; `support` is the number of texts of the class."""

    label: str
    """Name of the class."""
    precision: float
    """Share of right answers among the answers with this class."""
    recall: float
    """Share of its texts that were recognised."""
    f1: float
    """Harmonic mean of precision and recall."""
    support: int
    """Number of its texts."""


@dataclass(frozen=True)
class Bin:
    """Predictions whose confidence is above `low` and at most `high`: how many, mean confidence, share right."""

    low: float
    """Lower end of the bin, not in it."""
    high: float
    """Upper end of the bin."""
    count: int
    """Number of predictions."""
    confidence: float
    """Mean confidence."""
    accuracy: float
    """Share right."""


@dataclass(frozen=True)
class Scores:
    """All scores of one model; `confusion` has a row for each true class and a last column for unknown labels."""

    accuracy: float
    macro_f1: float
    calibration_error: float
    classes: list[ClassScore]
    bins: list[Bin]
    confusion: list[list[int]]


@dataclass(frozen=True)
class RocCurve:
    """Rates at which texts are taken for a class whose probability reaches each threshold, all from 0 to 1.

    The first threshold is one that no text reaches: 1, or 2 where a text has the probability 1.
    """

    positive: str
    """The class."""
    auc: float
    """Area under the curve."""
    false_positive_rate: list[float]
    """Of texts of other classes, at each threshold."""
    true_positive_rate: list[float]
    """Of texts of the class, at each threshold."""
    threshold: list[float]
    """Probabilities, falling."""


def roc_curve(positive: npt.NDArray[np.bool_], probability: Floats, label: str) -> RocCurve | None:
    """The ROC curve of a class, of at most `MOST_POINTS` points; None where all texts or no text are of the class.

    Points are dropped evenly along the curve, so that its steep and its flat part keep their shape.

    Args:
        positive: which texts are of the class, shape (texts,).
        probability: of the class, shape (texts,).
        label: the class's name.
    """
    if positive.all() or not positive.any():
        return None
    from sklearn import metrics  # it adds a second to every start

    false, true, thresholds = metrics.roc_curve(positive, probability)
    thresholds[0] = 1.0 if thresholds[1] < 1 else 2.0  # infinity is no JSON
    length = false + true
    kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MOST_POINTS)))
    if len(length) <= MOST_POINTS:
        kept = np.arange(len(length))
    auc = float(metrics.auc(false, true))
    return RocCurve(label, auc, false[kept].tolist(), true[kept].tolist(), thresholds[kept].tolist())


def confusion_matrix(truth: Indices, predicted: Indices, classes: int) -> Counts:
    """Counts, shape (classes, classes + 1): rows are true classes, columns predicted ones."""
    cells = np.bincount(truth * (classes + 1) + predicted, minlength=classes * (classes + 1))
    return cells.reshape(classes, classes + 1)


def macro_f1(confusion: Counts) -> Floats:
    """Mean F1 over the classes that occur; `confusion` may have leading dimensions, which the result keeps."""
    classes = confusion.shape[-2]
    right = np.diagonal(confusion[..., :classes], axis1=-2, axis2=-1)
    return f1_mean(right, confusion.sum(axis=-1), confusion.sum(axis=-2)[..., :classes])


def f1_mean(right: Counts, support: Counts, predicted: Counts) -> Floats:
    """Mean F1 over the classes that occur, of counts by class in the last dimension; the others are kept."""
    f1 = 2 * right / np.maximum(support + predicted, 1)
    occurs = support > 0
    return np.asarray((f1 * occurs).sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))


def accuracy(confusion: Counts) -> Floats:
    """Share of right predictions; leading dimensions are kept."""
    right = np.trace(confusion[..., : confusion.shape[-2]], axis1=-2, axis2=-1)
    return np.asarray(right / np.maximum(confusion.sum(axis=(-2, -1)), 1))


def calibration(confidence: Floats, right: npt.NDArray[np.bool_], bins: int = BINS) -> tuple[float, list[Bin]]:
    """Expected calibration error over bins of equal width (Guo et al. 2017, section 2), and its bins with texts.

    Args:
        confidence: highest probability of each text, shape (texts,).
        right: whether the prediction is right, shape (texts,).
        bins: number of bins between 0 and 1.
    """
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, bins - 1)
    found = []
    for place in np.unique(places):
        inside = places == place
        found.append(
            Bin(
                float(edges[place]),
                float(edges[place + 1]),
                int(inside.sum()),
                float(confidence[inside].mean()),
                float(right[inside].mean()),
            )
        )
    error = sum(item.count * abs(item.accuracy - item.confidence) for item in found) / max(len(confidence), 1)
    return error, found


def score(truth: Indices, predicted: Indices, confidence: Floats, labels: list[str]) -> Scores:
    """All scores of predictions.

    Args:
        truth: true classes, shape (texts,).
        predicted: predicted classes, shape (texts,); `len(labels)` for an unknown label.
        confidence: probability of the predicted class, shape (texts,).
        labels: the classes' names.
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
