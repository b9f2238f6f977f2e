"""The labelled texts that a rollout replays, in an order that is random but the same in every run.

The order is that of the texts' hashes, so a driver that takes over replays the same texts in the same order.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput
from slipway.components.learning.scores import confusion_matrix, macro_f1


def text_key(text: str) -> str:
    """A short hash of a text. The state of a rollout holds these keys, not the texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Probe:
    """A text and its correct label."""

    text: str
    label: str


class Probes:
    """Distinct labelled texts.

    Args:
        texts: the texts; of equal texts only the first is used.
        labels: the name of each text's correct label.

    Raises:
        BadInput: there are no texts.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        distinct: dict[str, Probe] = {}
        for text, label in zip(texts, labels, strict=True):
            distinct.setdefault(text_key(text), Probe(text, label))
        if not distinct:
            raise BadInput("a rollout needs labelled texts to probe with, got 0; give a dataset with a test split")
        self._by_key = dict(sorted(distinct.items()))
        self._probes = list(self._by_key.values())

    def __len__(self) -> int:
        return len(self._probes)

    def __contains__(self, key: object) -> bool:
        """Whether `key` is the `text_key` of one of the texts."""
        return key in self._by_key

    def replay(self, start: int, count: int) -> list[str]:
        """`count` texts from position `start` on; after the last text follows the first."""
        return [self._probes[(start + i) % len(self._probes)].text for i in range(count)]

    def unseen(self, seen: set[str], count: int) -> list[Probe]:
        """Up to `count` probes whose keys are not in `seen`."""
        fresh = [probe for key, probe in self._by_key.items() if key not in seen]
        return fresh[:count]


def macro_f1_of(probes: Sequence[Probe], answers: Sequence[str | None]) -> float:
    """Macro-F1 of the answers over the labels that the probes have; None, and a label that no probe has, are wrong."""
    classes = {label: index for index, label in enumerate(sorted({probe.label for probe in probes}))}
    truth = np.array([classes[probe.label] for probe in probes])
    given = np.array([classes.get(answer or "", len(classes)) for answer in answers])
    return float(macro_f1(confusion_matrix(truth, given, len(classes))))


def probes_of(dataset: TextDataset, split: str = "test") -> Probes:
    """The probes of a dataset's split."""
    return Probes(dataset.texts(split), [dataset.labels[i] for i in dataset.label_ids(split)])
