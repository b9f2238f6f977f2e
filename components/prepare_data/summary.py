"""Counts, lengths and examples of a dataset, for the result and the report."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from slipway.components.prepare_data.duplicates import Merged, NearPair
from slipway.components.prepare_data.formats import Example
from slipway.components.prepare_data.result import (
    Conflict,
    Duplicates,
    LengthHistogram,
    Lengths,
    NearDuplicate,
    RepeatedText,
)
from slipway.components.prepare_data.times import told

Splits = Mapping[str, Sequence[Example]]
SHOWN = 10
SHOWN_LENGTH = 160
QUANTILES = {"minimum": 0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "p95": 0.95, "maximum": 1}
BINS = 30


def shortened(text: str) -> str:
    """The beginning of a text, at most `SHOWN_LENGTH` characters."""
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…"


def duplicates_of(examples: Sequence[Example], merged: Merged, pairs: Sequence[NearPair]) -> Duplicates:
    """The most frequent repeated texts, and near duplicates, the least similar ones first; at most `SHOWN` of each."""
    near = [
        NearDuplicate(
            removed=shortened(examples[pair.removed].text),
            removed_label=examples[pair.removed].label,
            kept=shortened(examples[pair.kept].text),
            kept_label=examples[pair.kept].label,
            similarity=round(pair.similarity, 3),
        )
        for pair in sorted(pairs, key=lambda pair: pair.similarity)
    ]
    with_other_label = [pair for pair in near if pair.removed_label != pair.kept_label]
    repeated = sorted(merged.repeated.items(), key=lambda item: (-item[1], item[0]))
    return Duplicates(
        exact=[RepeatedText(text=shortened(text), count=count) for text, count in repeated[:SHOWN]],
        near=near[:SHOWN],
        near_with_other_label=with_other_label[:SHOWN],
        near_with_other_label_count=len(with_other_label),
    )


def conflicts_of(merged: Merged) -> list[Conflict]:
    """Texts with several labels, at most `SHOWN`."""
    conflicts = [Conflict(text=shortened(text), labels=labels, kept=kept) for text, labels, kept in merged.conflicts]
    return sorted(conflicts, key=lambda conflict: conflict.text)[:SHOWN]


def similar(labels: Sequence[str]) -> list[str]:
    """Labels that differ from another one only in upper and lower case."""
    folded = Counter(label.casefold() for label in labels)
    return [label for label in labels if folded[label.casefold()] > 1]


def classes_of(splits: Splits, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Texts of each class, by split."""
    counts = {name: Counter(example.label for example in rows) for name, rows in splits.items()}
    return {name: {label: count_of[label] for label in labels} for name, count_of in counts.items()}


def times_of(splits: Splits) -> dict[str, list[str]]:
    """The times of the oldest and of the newest text of each split that has texts."""
    times = {name: [example.time for example in rows] for name, rows in splits.items()}
    return {name: [told(min(values)), told(max(values))] for name, values in times.items() if values}


def lengths_of(splits: Splits) -> dict[str, Lengths]:
    """Quantiles of the lengths in characters, of each split that has texts."""
    lengths = {name: [len(example.text) for example in rows] for name, rows in splits.items()}
    return {
        name: Lengths(**{quantile: int(np.quantile(values, share)) for quantile, share in QUANTILES.items()})
        for name, values in lengths.items()
        if values
    }


def length_histogram(splits: Splits) -> LengthHistogram:
    """Histogram of the lengths of all texts."""
    heights, edges = np.histogram([len(example.text) for rows in splits.values() for example in rows], bins=BINS)
    return LengthHistogram(edges=[round(float(edge), 1) for edge in edges], counts=heights.tolist())


def examples_of(rows: Sequence[Example], labels: Sequence[str]) -> dict[str, list[str]]:
    """The first three texts of each class."""
    return {label: [shortened(example.text) for example in rows if example.label == label][:3] for label in labels}
