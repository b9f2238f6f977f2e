"""Predictions of a bundle on the test split, with and without typing errors, and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.onnx_classifier import Classifier, softmax
from slipway.components.errors import SlipwayError
from slipway.components.evaluate.result import ModelScores, TypoScores
from slipway.components.learning.scores import Floats, Indices, Scores, confusion_matrix, macro_f1, score


class Exam(NamedTuple):
    """The test split: texts, the same texts with typing errors, true classes (texts,), and names of the classes."""

    texts: list[str]
    noisy: list[str]
    truth: Indices
    labels: list[str]


@dataclass(frozen=True)
class Answers:
    """Predicted classes and their confidence, both of shape (texts,).

    Classes are indices of the dataset's labels. The number of labels stands for a label that the dataset does not have.
    """

    predicted: Indices
    confidence: Floats
    unscaled: Floats | None = None
    """The confidence without the model's temperature; None for a model without one."""


@dataclass(frozen=True)
class Evaluated:
    """A model's predictions and scores on the clean texts, and its scores on the texts with typing errors."""

    labels: list[str]
    answers: Answers
    clean: Scores
    typos: Scores

    @property
    def typo_drop(self) -> float:
        """Macro-F1 lost to typing errors."""
        return self.clean.macro_f1 - self.typos.macro_f1

    def scores(self) -> ModelScores:
        """The scores as a part of the step's result."""
        clean, noisy = self.clean, self.typos
        return ModelScores(
            accuracy=clean.accuracy,
            macro_f1=clean.macro_f1,
            calibration_error=clean.calibration_error,
            calibration_error_by_chance=clean.calibration_error_by_chance,
            calibration_error_unscaled=clean.calibration_error_unscaled,
            classes=clean.classes,
            bins=clean.bins,
            confusion=clean.confusion,
            typos=TypoScores(macro_f1=noisy.macro_f1, accuracy=noisy.accuracy, drop=self.typo_drop),
        )


def evaluated(bundle: Path | Bundle, exam: Exam) -> Evaluated:
    """Evaluate a bundle or draft on the test split. Its labels are matched with the dataset's labels by name.

    Raises:
        BadInput: the bundle cannot be loaded.
        SlipwayError: the model returns values that are not finite.
    """
    classifier = Classifier(bundle)
    clean, noisy = (_answers(classifier, texts, exam.labels) for texts in (exam.texts, exam.noisy))
    scores = [
        score(exam.truth, answers.predicted, answers.confidence, exam.labels, answers.unscaled)
        for answers in (clean, noisy)
    ]
    return Evaluated(classifier.labels, clean, *scores)


def macro_f1_of(bundle: Bundle, exam: Exam) -> float:
    """Macro-F1 of a bundle on the test split, without typing errors. Raises as `evaluated`."""
    answers = _answers(Classifier(bundle), exam.texts, exam.labels)
    return float(macro_f1(confusion_matrix(exam.truth, answers.predicted, len(exam.labels))))


def _answers(classifier: Classifier, texts: Sequence[str], labels: list[str]) -> Answers:
    logits, temperature = classifier.logits(texts), classifier.temperature
    probabilities = softmax(logits)
    if not np.isfinite(probabilities).all():
        raise SlipwayError(
            f"the model in {classifier.bundle.folder} answers with values that are not numbers; compress it otherwise"
        )
    index_of = {label: index for index, label in enumerate(labels)}
    dataset_classes = np.array([index_of.get(label, len(labels)) for label in classifier.labels], dtype=np.int64)
    unscaled = softmax(logits * temperature).max(axis=1).astype(np.float64) if temperature != 1 else None
    confidence = probabilities.max(axis=1).astype(np.float64)
    return Answers(dataset_classes[probabilities.argmax(axis=1)], confidence, unscaled)
