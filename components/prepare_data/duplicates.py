"""Find texts that occur more than once: exactly, or nearly.

Near duplicates are found exactly, not by sampling: two texts are near when the Jaccard similarity of their sets of
character shingles reaches a threshold. The prefix filter (Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma and
Srikant, WWW 2007) makes it fast: two near sets must share some of their rarest few shingles.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from slipway.components.prepare_data.formats import Example

Integers = npt.NDArray[np.int64]

SHINGLE = 4
SHARED = 8
"""How many rare shingles two texts must share before they are compared; more is a longer prefix, fewer candidates."""

BLOCK = 1000
PAIRS_AT_ONCE = 100_000
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
        split = min((example.split for example in group), key=HELD_OUT_FIRST.__getitem__)
        labels = Counter(example.label for example in group)
        label = group[0].label
        if len(labels) > 1:
            (label, most), second = _votes(group, split)
            if on_conflict == "drop" or most == second:
                label = ""
            merged.conflicts.append(Conflict(text, dict(sorted(labels.items())), label))
        if label:
            merged.examples.append(Example(text, label, split))
        if len(group) > 1:
            merged.repeated[text] = len(group)
    return merged


def _votes(group: Sequence[Example], split: str) -> tuple[tuple[str, int], int]:
    """The most frequent label in the split that keeps the text, with its number, and the number of the next one."""
    votes = Counter(example.label for example in group if example.split == split).most_common(2)
    return votes[0], votes[1][1] if len(votes) > 1 else 0


def shingles(text: str) -> set[str]:
    """The character 4-grams of a text, regardless of case, punctuation and word boundaries at its ends."""
    words = "".join(c if c.isalnum() else " " for c in text.casefold()).split()
    padded = f" {' '.join(words or [text])} "
    return {padded[start : start + SHINGLE] for start in range(max(len(padded) - SHINGLE + 1, 1))}


def near_duplicates(texts: Sequence[str], threshold: float) -> list[NearPair]:
    """The texts to remove so that no two of the rest are near; an earlier text is kept in favour of a later one.

    Every removed text is near one that is kept. Chains (a near b near c, but not a near c) are not joined: a and c
    both stay.
    """
    if not texts:
        return []
    sets = _shingle_sets(texts)
    prefixes, shared = _prefixes(sets, threshold)
    kept = np.empty(0, dtype=np.int64)
    pairs: list[NearPair] = []
    for start in range(0, len(texts), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(texts)))
        others = np.concatenate([kept, block])
        common = (prefixes[block] @ prefixes[others].T).tocoo()
        later, earlier = block[common.row], others[common.col]
        candidates = (earlier < later) & (common.data >= np.minimum(shared[later], shared[earlier]))
        removed: dict[int, NearPair] = {}
        for pair in _compared(sets, later[candidates], earlier[candidates], threshold):
            if pair.removed not in removed and pair.kept not in removed:
                removed[pair.removed] = pair
        kept = np.concatenate([kept, np.setdiff1d(block, list(removed))])
        pairs.extend(removed.values())
    return pairs


def _shingle_sets(texts: Sequence[str]) -> sparse.csr_matrix:
    """Which text has which shingle: ones, int32 (texts, shingles); columns are ordered from rare to frequent."""
    sets = CountVectorizer(analyzer=shingles, binary=True, dtype=np.int32).fit_transform(texts)
    frequencies = np.bincount(sets.indices, minlength=sets.shape[1])
    ranks = np.empty(sets.shape[1], dtype=sets.indices.dtype)
    ranks[np.argsort(frequencies, kind="stable")] = np.arange(sets.shape[1])
    sets = sparse.csr_matrix((sets.data, ranks[sets.indices], sets.indptr), shape=sets.shape)
    sets.sort_indices()
    return sets


def _prefixes(sets: sparse.csr_matrix, threshold: float) -> tuple[sparse.csr_matrix, Integers]:
    """The rarest shingles of each text, and how many of them it shares at least with any text that is near.

    A near text has at least `needed` of the shingles. All but `needed - shared` of these lie among the rarest
    `size - needed + shared` of both texts.
    """
    sizes = np.diff(sets.indptr)
    needed = np.ceil(threshold * sizes - TOLERANCE).astype(np.int64)
    shared = np.minimum(needed, SHARED)
    lengths = sizes - needed + shared
    place = np.arange(sets.nnz) - np.repeat(sets.indptr[:-1], sizes)
    inside = place < np.repeat(lengths, sizes)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return sparse.csr_matrix((sets.data[inside], sets.indices[inside], starts), shape=sets.shape), shared


def _compared(sets: sparse.csr_matrix, later: Integers, earlier: Integers, threshold: float) -> list[NearPair]:
    """The pairs that are near, by the later text; its most similar one first."""
    sizes = np.diff(sets.indptr)
    fits = np.minimum(sizes[later], sizes[earlier]) >= threshold * np.maximum(sizes[later], sizes[earlier]) - TOLERANCE
    later, earlier = later[fits], earlier[fits]
    common = np.zeros(len(later))
    for start in range(0, len(later), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        common[part] = np.asarray(sets[later[part]].multiply(sets[earlier[part]]).sum(axis=1)).ravel()
    similarity = common / (sizes[later] + sizes[earlier] - common)
    near = similarity >= threshold - TOLERANCE
    pairs = map(NearPair, later[near].tolist(), earlier[near].tolist(), similarity[near].tolist())
    return sorted(pairs, key=lambda pair: (pair.removed, -pair.similarity, pair.kept))
