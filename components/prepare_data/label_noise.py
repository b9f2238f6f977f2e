"""Find texts whose label is probably wrong, by confident learning.

The method is that of Northcutt, Jiang and Chuang (2021, Confident learning: estimating uncertainty in dataset labels).

A quick model tells the probability of each class for texts that it was not trained on (cross-validation). A text is
suspicious when another class than its own is as probable as that class is on average for its own texts. The model knows
only which letters stand together, so it also suspects texts of classes that it cannot tell apart: people have to look.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from slipway.components.prepare_data import splitting
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.result import LabelNoise, SuspiciousLabel
from slipway.components.prepare_data.settings import DataSettings
from slipway.components.prepare_data.summary import shortened

FOLDS = 3
FEATURES, DIMENSIONS = 30_000, 150
"""Most n-grams of letters, and dimensions that they are reduced to."""
LISTED = 30
"""Most texts that are listed."""

Probabilities = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class Found(NamedTuple):
    """What confident learning finds.

    `suggested` is the class that each text probably has, and its own where nothing is suspicious, shape (texts,).
    `shares` is the estimated share of wrong labels among the texts of each class, shape (classes,).
    """

    suggested: Indices
    shares: Probabilities


def search(kept: Sequence[Example], labels: Sequence[str], settings: DataSettings) -> LabelNoise | None:
    """Search examples for wrong labels; None if that is switched off, or if a class has too few texts for the folds."""
    order = splitting.shuffled(kept, settings.seed)
    examples = order[: settings.label_noise_texts]
    index_of = {label: index for index, label in enumerate(labels)}
    given = np.array([index_of[example.label] for example in examples], dtype=np.int64)
    if not examples or np.bincount(given, minlength=len(labels)).min() < FOLDS:
        return None
    probabilities = out_of_sample([example.text for example in examples], given)
    found = confident(probabilities, given)
    rows = np.arange(len(given))
    margin = probabilities[rows, found.suggested] - probabilities[rows, given]
    suspicious = np.flatnonzero(found.suggested != given)
    ranked = suspicious[np.argsort(-margin[suspicious], kind="stable")]
    return LabelNoise(
        texts=len(examples),
        accuracy=float((probabilities.argmax(axis=1) == given).mean()),
        share=float(found.shares @ np.bincount(given, minlength=len(labels)) / len(given)),
        classes={label: float(share) for label, share in zip(labels, found.shares, strict=True)},
        suspicious_count=len(suspicious),
        suspicious=[
            SuspiciousLabel(
                text=shortened(examples[row].text),
                label=labels[given[row]],
                suggested=labels[found.suggested[row]],
                margin=round(float(margin[row]), 3),
            )
            for row in ranked[:LISTED]
        ],
    )


def out_of_sample(texts: Sequence[str], given: Indices) -> Probabilities:
    """Probabilities of the classes for each text, from a model that was trained on other texts; (texts, classes)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    # N-grams of letters within words serve all scripts. The features know no labels, so all texts may shape them.
    weights = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=FEATURES, sublinear_tf=True)
    counts = weights.fit_transform(texts)
    reduced = TruncatedSVD(min(DIMENSIONS, *(size - 1 for size in counts.shape)), random_state=0, n_iter=2)
    classifier = LogisticRegression(C=1, max_iter=200, tol=1e-3)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    dense = reduced.fit_transform(counts)
    found: Probabilities = cross_val_predict(classifier, dense, given, cv=folds, method="predict_proba")
    return found


def confident(probabilities: Probabilities, given: Indices) -> Found:
    """Confident learning: which labels are suspicious, and how many are probably wrong.

    Args:
        probabilities: of the classes for each text, not trained on it, shape (texts, classes); each class has a text.
        given: the labels, shape (texts,).
    """
    classes = probabilities.shape[1]
    rows = np.arange(len(given))
    support = np.bincount(given, minlength=classes)
    thresholds = np.bincount(given, probabilities[rows, given], classes) / support
    reaches = probabilities >= thresholds
    likely = np.where(reaches, probabilities, -1).argmax(axis=1)
    counted = reaches.any(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (given[counted], likely[counted]), 1)
    shares = 1 - np.diagonal(joint) / np.maximum(joint.sum(axis=1), 1)
    return Found(np.where(counted, likely, given), shares)
