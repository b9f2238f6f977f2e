"""The labelled texts that a rollout replays: in an order that is random but the same in every run."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.errors import BadInput


def text_key(text: str) -> str:
    """A short name of a text, under which the state remembers that it was compared."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Probe:
    """A text and its right label."""

    text: str
    label: str


class Probes:
    """Distinct labelled texts.

    Args:
        texts: the texts; of those that occur more than once, the first counts.
        labels: the right label of each, as names.

    Raises:
        BadInput: there are none.
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
        """Whether a key is that of one of the texts."""
        return key in self._by_key

    def replay(self, start: int, count: int) -> list[str]:
        """`count` texts from position `start` on, round and round."""
        return [self._probes[(start + i) % len(self._probes)].text for i in range(count)]

    def unseen(self, seen: set[str], count: int) -> list[Probe]:
        """Up to `count` probes whose keys are not in `seen`."""
        fresh = [probe for key, probe in self._by_key.items() if key not in seen]
        return fresh[:count]


def probes_of(dataset: TextDataset, split: str = "test") -> Probes:
    """The probes of a dataset's split."""
    return Probes(dataset.texts(split), [dataset.labels[i] for i in dataset.label_ids(split)])
