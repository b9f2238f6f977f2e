"""Makes the reference for drift that a bundle carries, and compares later texts with it; for compress and the server.

The reference has histograms over the validation split: predicted label, confidence (the highest probability), length in
characters, and share of tokens that the tokenizer does not know. The model server compares the texts of its requests
with them by the Population Stability Index (N. Siddiqi, Credit Risk Scorecards, Wiley 2006, chapter 9). Values above
0.25 (some authors say 0.2) are usually called a shift.
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
"""Number of bins for confidence and length."""
UNKNOWN_BOUNDS = (0.0, 0.05, 0.2)
"""Fixed bounds, since most texts have no unknown token and quantiles would all be 0."""
SMOOTHING = 0.5
"""Added to every count, since the logarithm of an empty bin is not finite."""
ONE_IN_100 = 2.326
"""The 99 % quantile of the standard normal distribution."""

Values = npt.NDArray[np.float64]


class Features:
    """Computes the values of the four features of texts and their predictions.

    Args:
        tokenizer: tokenizer of the model.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        model = json.loads(tokenizer.to_str())["model"]
        unknown_token = model.get("unk_token")
        # Unigram models state the id of the unknown token, the others its text.
        token_id = model.get("unk_id") if unknown_token is None else tokenizer.token_to_id(unknown_token)
        self._unknown_id: int = -1 if token_id is None else token_id  # byte-level tokenizers have no unknown token

    def __call__(self, texts: Sequence[str], encodings: Sequence[Encoded], probabilities: Floats) -> dict[str, Values]:
        """The values of each feature, shape (texts,); `probabilities` has the shape (texts, classes)."""
        unknown = [encoding.ids.count(self._unknown_id) / max(1, len(encoding)) for encoding in encodings]
        return {
            LABEL: probabilities.argmax(axis=1).astype(np.float64),
            CONFIDENCE: probabilities.max(axis=1).astype(np.float64),
            LENGTH: np.array([len(text) for text in texts], dtype=np.float64),
            UNKNOWN: np.array(unknown, dtype=np.float64),
        }


def reference_of(classifier: Classifier, texts: Sequence[str]) -> dict[str, Bins]:
    """The histograms of a model's predictions for texts that are like those of its later requests.

    The bins of confidence and length are deciles, so that each has about the same share of the texts.
    """
    texts = classifier.normalised(texts)
    encodings = classifier.tokenizer.encode_batch(texts)
    values = Features(classifier.tokenizer)(texts, encodings, classifier.probabilities(texts))
    bounds: dict[str, list[float]] = {
        LABEL: list(range(len(classifier.labels) - 1)),
        CONFIDENCE: _deciles(values[CONFIDENCE]),
        LENGTH: _deciles(values[LENGTH]),
        UNKNOWN: list(UNKNOWN_BOUNDS),
    }
    return {name: Bins(bounds=bounds[name], counts=counted(bounds[name], values[name])) for name in FEATURES}


def _deciles(values: Values) -> list[float]:
    inner_bounds = np.unique(np.quantile(values, np.arange(1, BINS) / BINS).round(6))
    return [float(bound) for bound in inner_bounds if bound < values.max()]


def bins_of(bounds: Sequence[float], values: Values) -> npt.NDArray[np.int64]:
    """The index of the bin of each value, shape (values,)."""
    return np.searchsorted(np.asarray(bounds, dtype=np.float64), values, side="left")


def counted(bounds: Sequence[float], values: Values) -> list[int]:
    """The number of values in each bin."""
    counts: list[int] = np.bincount(bins_of(bounds, values), minlength=len(bounds) + 1).tolist()
    return counts


def stability_index(reference: Sequence[int], counts: Sequence[int]) -> float:
    """The Population Stability Index of two histograms with the same bins; 0 for equal shares, else positive."""
    expected, actual = (np.asarray(histogram, dtype=np.float64) + SMOOTHING for histogram in (reference, counts))
    expected, actual = expected / expected.sum(), actual / actual.sum()
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def index_by_chance(reference: Sequence[int], texts: int) -> float:
    """The index that is exceeded in one case of 100 although nothing has changed.

    Without a change the index is close to (1/m + 1/n) times a chi-squared variable, for samples of m and n texts
    (B. Yurdakul, J. Naranjo, Statistical properties of the population stability index, Journal of Risk Model
    Validation 14(4), 2020). The quantile of that variable is approximated after Wilson and Hilferty (PNAS 17, 1931).

    Args:
        reference: counts of the histogram in the bundle.
        texts: number of texts that are compared with it.
    """
    if not texts:
        return math.inf
    degrees_of_freedom = max(1, sum(count > 0 for count in reference) - 1)
    variance = 2 / (9 * degrees_of_freedom)
    quantile = degrees_of_freedom * (1 - variance + ONE_IN_100 * math.sqrt(variance)) ** 3
    return float((1 / sum(reference) + 1 / texts) * quantile)
