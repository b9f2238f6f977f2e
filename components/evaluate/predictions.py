"""What a bundle answers to the test split, with and without typing errors, and the scores of that."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.errors import SlipwayError
from slipway.components.evaluate.result import ModelScores, TypoScores
from slipway.components.learning.scores import Floats, Indices, Scores, score


class Exam(NamedTuple):
    """The test split: texts, the same with typing errors, true classes of shape (texts,), names of the classes."""

    texts: list[str]
    noisy: list[str]
    truth: Indices
    labels: list[str]


@dataclass(frozen=True)
class Answers:
    """Answers to texts: class indices of the dataset (their number for an unknown label) and confidence, (texts,)."""

    predicted: Indices
    confidence: Floats


@dataclass(frozen=True)
class Evaluated:
    """A model's answers and scores on the clean texts and on those with typing errors."""

    labels: list[str]
    answers: Answers
    clean: Scores
    typos: Scores

    @property
    def typo_drop(self) -> float:
        """Macro-F1 lost to typing errors."""
        return self.clean.macro_f1 - self.typos.macro_f1

    def scores(self) -> ModelScores:
        """As the result tells them."""
        clean, noisy = self.clean, self.typos
        return ModelScores(
            accuracy=clean.accuracy,
            macro_f1=clean.macro_f1,
            calibration_error=clean.calibration_error,
            classes=clean.classes,
            bins=clean.bins,
            confusion=clean.confusion,
            typos=TypoScores(macro_f1=noisy.macro_f1, accuracy=noisy.accuracy, drop=self.typo_drop),
        )


def evaluated(bundle: Path | Bundle, exam: Exam) -> Evaluated:
    """Ask a bundle or draft for the labels of the texts; its labels are matched with the dataset's by name.

    Raises:
        BadInput: the bundle cannot be loaded.
        SlipwayError: the model answers with something other than numbers.
    """
    classifier = Classifier(bundle)
    clean, noisy = (_answers(classifier, texts, exam.labels) for texts in (exam.texts, exam.noisy))
    scores = [score(exam.truth, answers.predicted, answers.confidence, exam.labels) for answers in (clean, noisy)]
    return Evaluated(classifier.labels, clean, *scores)


def _answers(classifier: Classifier, texts: Sequence[str], labels: list[str]) -> Answers:
    probabilities = classifier.probabilities(texts)
    if not np.isfinite(probabilities).all():
        raise SlipwayError(
            f"the model in {classifier.bundle.folder} answers with values that are not numbers; compress it otherwise"
        )
    place = {label: index for index, label in enumerate(labels)}
    known = np.array([place.get(label, len(labels)) for label in classifier.labels], dtype=np.int64)
    return Answers(known[probabilities.argmax(axis=1)], probabilities.max(axis=1).astype(np.float64))
