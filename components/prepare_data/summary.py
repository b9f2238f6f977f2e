"""What the report says about a dataset: counts, lengths and examples as plain JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from slipway.components.prepare_data.duplicates import Merged, NearPair
from slipway.components.prepare_data.formats import Example

SHOWN = 10
SHOWN_LENGTH = 160
QUANTILES = {"minimum": 0, "quarter": 0.25, "median": 0.5, "three_quarters": 0.75, "p95": 0.95, "maximum": 1}
BINS = 30


def shortened(text: str) -> str:
    """At most `SHOWN_LENGTH` characters."""
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…"


def of_duplicates(examples: Sequence[Example], merged: Merged, pairs: Sequence[NearPair]) -> dict[str, Any]:
    """The most frequent repeated texts, conflicts, and near pairs, the least similar first; at most `SHOWN` of each."""
    near = [
        {
            "removed": shortened(examples[pair.removed].text),
            "removed_label": examples[pair.removed].label,
            "kept": shortened(examples[pair.kept].text),
            "kept_label": examples[pair.kept].label,
            "similarity": round(pair.similarity, 3),
        }
        for pair in sorted(pairs, key=lambda pair: pair.similarity)
    ]
    crossing = [pair for pair in near if pair["removed_label"] != pair["kept_label"]]
    repeated = sorted(merged.repeated.items(), key=lambda item: (-item[1], item[0]))
    conflicts = [{"text": shortened(text), "labels": labels, "kept": kept} for text, labels, kept in merged.conflicts]
    return {
        "duplicates": {
            "exact": [{"text": shortened(text), "count": count} for text, count in repeated[:SHOWN]],
            "near": near[:SHOWN],
            "near_with_other_label": crossing[:SHOWN],
            "near_with_other_label_count": len(crossing),
        },
        "conflicts": sorted(conflicts, key=lambda conflict: str(conflict["text"]))[:SHOWN],
        "conflicts_count": len(conflicts),
    }


def of_splits(splits: Mapping[str, Sequence[Example]], labels: Sequence[str]) -> dict[str, Any]:
    """Class counts and lengths in characters by split, a histogram of all lengths, and examples of each class."""
    counts = {name: Counter(example.label for example in rows) for name, rows in splits.items()}
    lengths = {name: [len(example.text) for example in rows] for name, rows in splits.items()}
    heights, edges = np.histogram([length for each in lengths.values() for length in each], bins=BINS)
    folded = Counter(label.casefold() for label in labels)
    return {
        "labels": list(labels),
        "similar_labels": [label for label in labels if folded[label.casefold()] > 1],
        "classes": {name: {label: counted[label] for label in labels} for name, counted in counts.items()},
        "lengths": {
            name: {quantile: int(np.quantile(each, share)) for quantile, share in QUANTILES.items()}
            for name, each in lengths.items()
            if each
        },
        "length_histogram": {"edges": [round(float(edge), 1) for edge in edges], "counts": heights.tolist()},
        "examples": {
            label: [shortened(example.text) for example in splits["train"] if example.label == label][:3]
            for label in labels
        },
    }
