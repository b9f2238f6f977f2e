"""Find texts that occur more than once: exactly, or nearly.

Near duplicates are found exactly, not by sampling: two texts are near when the Jaccard similarity of their sets of
character shingles reaches a threshold. The prefix filter (Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma and
Srikant, WWW 2007) makes it fast: ordered by rarity, two near sets must share one of their rarest few shingles.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from components.prepare_data.formats import Example

SHINGLE = 4
TOLERANCE = 1e-9
HELD_OUT_FIRST = {"test": 0, "validation": 1, "train": 2, "": 2}
"""Among equal texts of ready-made splits, the one of the first split is kept: held-out splits stay as they are."""


class Conflict(NamedTuple):
    """A text that occurs with several labels; `kept` is empty when it was dropped."""

    text: str
    labels: dict[str, int]
    kept: str


class Merged(NamedTuple):
    """Distinct texts with one label each; how often each removed text occurred; the conflicts."""

    examples: list[Example]
    repeated: dict[str, int]
    conflicts: list[Conflict]


class NearPair(NamedTuple):
    """Indices of a removed text and of the kept one that it resembles most, with their Jaccard similarity."""

    removed: int
    kept: int
    similarity: float


def merge_equal(examples: Sequence[Example], on_conflict: str) -> Merged:
    """Each text once. With several labels, `majority` keeps the most frequent (a tie drops the text)."""
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.text].append(example)
    merged = Merged([], {}, [])
    for text, group in groups.items():
        labels = Counter(example.label for example in group)
        label = group[0].label
        if len(labels) > 1:
            (label, most), (_, second) = labels.most_common(2)
            if on_conflict == "drop" or most == second:
                label = ""
            merged.conflicts.append(Conflict(text, dict(sorted(labels.items())), label))
        if label:
            split = min((example.split for example in group), key=HELD_OUT_FIRST.__getitem__)
            merged.examples.append(Example(text, label, split))
        if len(group) > 1:
            merged.repeated[text] = len(group)
    return merged


def shingles(text: str) -> set[str]:
    """The character 4-grams of a text, regardless of case, punctuation and word boundaries at its ends."""
    words = "".join(c if c.isalnum() else " " for c in text.casefold()).split()
    padded = f" {' '.join(words or [text])} "
    return {padded[start : start + SHINGLE] for start in range(max(len(padded) - SHINGLE + 1, 1))}


def near_duplicates(texts: Sequence[str], threshold: float) -> list[NearPair]:
    """The texts to remove so that no two of the rest are near; an earlier text is kept in favour of a later one.

    Every removed text is near one that is kept. Chains (a near b near c, but not a near c) are not joined: a and c
    both stay. Time is about linear in the number of texts, memory 8 bytes a shingle.
    """
    frequencies: Counter[str] = Counter()
    for text in texts:
        frequencies.update(shingles(text))
    rank = {gram: place for place, gram in enumerate(sorted(frequencies, key=lambda gram: (frequencies[gram], gram)))}
    kept: dict[int, list[int]] = {}
    by_shingle: dict[int, list[int]] = defaultdict(list)
    pairs = []
    for index, text in enumerate(texts):
        own = sorted(rank[gram] for gram in shingles(text))
        prefix = own[: len(own) - math.ceil(threshold * len(own) - TOLERANCE) + 1]
        candidates = {candidate for gram in prefix for candidate in by_shingle.get(gram, ())}
        best = _most_similar(set(own), candidates, kept, threshold)
        if best:
            pairs.append(NearPair(index, *best))
            continue
        kept[index] = own
        for gram in prefix:
            by_shingle[gram].append(index)
    return pairs


def _most_similar(
    own: set[int], candidates: set[int], kept: dict[int, list[int]], threshold: float
) -> tuple[int, float] | None:
    best: tuple[float, int] | None = None
    for candidate in candidates:
        other = kept[candidate]
        if not threshold - TOLERANCE <= len(own) / len(other) <= 1 / (threshold - TOLERANCE):
            continue
        common = len(own.intersection(other))
        similarity = common / (len(own) + len(other) - common)
        if similarity >= threshold - TOLERANCE and (best is None or (similarity, -candidate) > best):
            best = similarity, -candidate
    return (-best[1], best[0]) if best else None
