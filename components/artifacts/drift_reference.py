"""How requests looked when a model was chosen, and how far those of today are from it.

A bundle carries histograms over the validation split: predicted label, confidence (the highest probability), length in
characters, and share of tokens that the tokenizer does not know. The model server compares the texts that it
answers with them by the Population Stability Index (N. Siddiqi, Credit Risk Scorecards, Wiley 2006, chapter 9), where
values above 0.25, by others 0.2, are usually called a shift.
"""

import json
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from slipway.components.artifacts.bundle import Bins
from slipway.components.artifacts.onnx_classifier import Classifier, Encoded, Floats

LABEL, CONFIDENCE, LENGTH, UNKNOWN = FEATURES = ("label", "confidence", "length", "unknown")
BINS = 10
UNKNOWN_BOUNDS = (0.0, 0.05, 0.2)
"""Most texts have no unknown token, so quantiles would all be 0."""
SMOOTHING = 0.5
"""Added to every count, so that an empty bin has a logarithm."""
ONE_IN_100 = 2.326
"""The standard normal's 99 % quantile."""

Values = npt.NDArray[np.float64]


class Features:
    """Takes the values of the four features from answered texts.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        model = json.loads(tokenizer.to_str())["model"]
        unknown = model.get("unk_token")
        found = model.get("unk_id") if unknown is None else tokenizer.token_to_id(unknown)
        self._unknown: int = -1 if found is None else found  # byte-level tokenizers know everything

    def __call__(self, texts: Sequence[str], encodings: Sequence[Encoded], probabilities: Floats) -> dict[str, Values]:
        """Each feature's value of each text; `probabilities` has the shape (texts, classes)."""
        unknown = [encoding.ids.count(self._unknown) / max(1, len(encoding)) for encoding in encodings]
        return {
            LABEL: probabilities.argmax(axis=1).astype(np.float64),
            CONFIDENCE: probabilities.max(axis=1).astype(np.float64),
            LENGTH: np.array([len(text) for text in texts], dtype=np.float64),
            UNKNOWN: np.array(unknown, dtype=np.float64),
        }


def reference_of(classifier: Classifier, texts: Sequence[str]) -> dict[str, Bins]:
    """The histograms of a model's answers to texts that are like those it will be asked about.

    Confidence and length are cut at deciles, where the index tells most.
    """
    encodings = classifier.tokenizer.encode_batch(list(texts))
    values = Features(classifier.tokenizer)(texts, encodings, classifier.probabilities(texts))
    bounds: dict[str, list[float]] = {
        LABEL: list(range(len(classifier.labels) - 1)),
        CONFIDENCE: _deciles(values[CONFIDENCE]),
        LENGTH: _deciles(values[LENGTH]),
        UNKNOWN: list(UNKNOWN_BOUNDS),
    }
    return {name: Bins(bounds=bounds[name], counts=counted(bounds[name], values[name])) for name in FEATURES}


def _deciles(values: Values) -> list[float]:
    inner = np.unique(np.quantile(values, np.arange(1, BINS) / BINS).round(6))
    return [float(bound) for bound in inner if bound < values.max()]


def bins_of(bounds: Sequence[float], values: Values) -> npt.NDArray[np.int64]:
    """The bin that each value is in."""
    return np.searchsorted(np.asarray(bounds, dtype=np.float64), values, side="left")


def counted(bounds: Sequence[float], values: Values) -> list[int]:
    """Values per bin."""
    counts: list[int] = np.bincount(bins_of(bounds, values), minlength=len(bounds) + 1).tolist()
    return counts


def stability_index(reference: Sequence[int], counts: Sequence[int]) -> float:
    """The Population Stability Index of two histograms with the same bins: 0 for the same shares, never below."""
    expected, actual = (np.asarray(given, dtype=np.float64) + SMOOTHING for given in (reference, counts))
    expected, actual = expected / expected.sum(), actual / actual.sum()
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def index_by_chance(reference: Sequence[int], texts: int) -> float:
    """What the index exceeds in one case of 100 although nothing has changed.

    Without a change it is close to (1/m + 1/n) times a chi-squared variable, m and n being the sizes of the samples
    (B. Yurdakul, J. Naranjo, Statistical properties of the population stability index, Journal of Risk Model
    Validation 14(4), 2020); its quantile is that of Wilson and Hilferty (PNAS 17, 1931).
    """
    if not texts:
        return math.inf
    freedom = max(1, sum(count > 0 for count in reference) - 1)
    spread = 2 / (9 * freedom)
    return float((1 / sum(reference) + 1 / texts) * freedom * (1 - spread + ONE_IN_100 * math.sqrt(spread)) ** 3)
