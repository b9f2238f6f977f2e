"""Measures drift: compares the latest texts with those that the model was evaluated on, over a sliding window."""

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from slipway.components.artifacts.bundle import Bins
from slipway.components.artifacts.drift_reference import Features, bins_of, index_by_chance, stability_index
from slipway.components.artifacts.onnx_classifier import Classifier, Encoded, Floats
from slipway.serving.telemetry.metrics import ModelMetrics
from slipway.serving.telemetry.request_record import COMPARISON, current_exchange

WINDOW = 2000
"""Number of the latest texts of clients that are compared with the reference."""
EVERY = 100
"""Number of texts between two computations of the indices. A scrape of the metrics computes them too."""


class Drift:
    """Compares texts and predictions of a model with the reference in its bundle. Without one, it only counts labels.

    Args:
        classifier: an opened bundle.
        metrics: metrics of its model.
        window: number of the latest texts that are compared.
    """

    def __init__(self, classifier: Classifier, metrics: ModelMetrics, window: int = WINDOW) -> None:
        self._labels = classifier.labels
        self._metrics = metrics
        self._reference: Mapping[str, Bins] = classifier.bundle.info.reference
        self._features = Features(classifier.tokenizer)
        self._counts = {name: [0] * len(bins.counts) for name, bins in self._reference.items()}
        self._window = window
        self._texts: deque[tuple[int, ...]] = deque()
        """For each text in the window, its bin in each histogram."""
        self._new: list[tuple[Sequence[str], Sequence[Encoded], Floats]] = []
        self._count = 0

    def answered(self, texts: Sequence[str], encodings: Sequence[Encoded], probabilities: Floats) -> None:
        """Add the texts of one request; `probabilities` has the shape (texts, classes).

        Requests by which a rollout compares both revisions are left out, since they are not a sample of what clients
        send.
        """
        exchange = current_exchange()
        if exchange is not None and exchange.source == COMPARISON:
            return
        self._new.append((texts, encodings, probabilities))
        self._count += len(texts)
        if self._count >= EVERY:
            self.update()

    def update(self) -> None:
        """Move the window over the new texts, and compute the indices (Population Stability Index of each feature)."""
        if self._new:
            texts, encodings, probabilities = zip(*self._new, strict=True)
            self._new, self._count = [], 0
            self._absorb(list(chain(*texts)), list(chain(*encodings)), np.concatenate(probabilities))
        for name, bins in self._reference.items() if self._texts else ():
            index = stability_index(bins.counts, self._counts[name])
            self._metrics.drift(name, index, index_by_chance(bins.counts, len(self._texts)))
        self._metrics.drift_texts(len(self._texts))

    def _absorb(self, texts: Sequence[str], encodings: Sequence[Encoded], probabilities: Floats) -> None:
        label_counts = np.bincount(probabilities.argmax(axis=1), minlength=len(self._labels))
        self._metrics.predicted(dict(zip(self._labels, label_counts.tolist(), strict=True)))
        if not self._reference:
            return
        values = self._features(texts, encodings, probabilities)
        bins = [bins_of(self._reference[name].bounds, values[name]).tolist() for name in self._reference]
        for text_bins in zip(*bins, strict=True):
            self._add_to_counts(text_bins, 1)
            self._texts.append(text_bins)
            if len(self._texts) > self._window:
                self._add_to_counts(self._texts.popleft(), -1)

    def _add_to_counts(self, text_bins: tuple[int, ...], change: int) -> None:
        for counts, index in zip(self._counts.values(), text_bins, strict=True):
            counts[index] += change
