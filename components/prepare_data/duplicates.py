"""Find texts that occur more than once, and texts that are nearly the same.

Two texts are near duplicates when the Jaccard similarity of their sets of character shingles reaches a threshold. All
such pairs are found, since nothing is sampled. The prefix filter (Chaudhuri, Ganti and Kaushik, ICDE 2006; Bayardo, Ma
and Srikant, WWW 2007) makes that fast: two similar sets must have some of their rarest shingles in common.
"""

import functools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from slipway.components.artifacts.normalisation import JOINERS
from slipway.components.prepare_data.formats import Example

Integers = npt.NDArray[np.int64]

SHINGLE = 4
SHARED = 8
"""How many rare shingles two texts must have in common before they are compared. More make a longer prefix, and fewer
pairs to compare.
"""

BLOCK = 1000
"""Texts that are compared at once with all texts before them; it limits the memory."""
PAIRS_AT_ONCE = 100_000
"""Pairs whose similarity is computed at once; it limits the memory."""
TOLERANCE = 1e-9
"""Allowance for rounding errors in comparisons with the threshold."""
HELD_OUT_FIRST = {"test": 0, "validation": 1, "train": 2, "": 2}
"""The order of splits. Of equal texts in ready-made splits, the one in the first split is kept, so that held-out splits
do not change.
"""


class Conflict(NamedTuple):
    """A text that occurs with several labels; `kept` is empty when it was dropped."""

    text: str
    labels: dict[str, int]
    kept: str


class Merged(NamedTuple):
    """Distinct texts with one label each, the counts of texts that occurred several times, and the conflicts."""

    examples: list[Example]
    repeated: dict[str, int]
    conflicts: list[Conflict]


class NearPair(NamedTuple):
    """Indices of a removed text and of the kept one that it resembles most, with their Jaccard similarity."""

    removed: int
    kept: int
    similarity: float


def merge_equal(examples: Sequence[Example], on_conflict: str) -> Merged:
    """Keep each text once: with the time at which it first occurred, in the group in which it occurs most often.

    Args:
        examples: in order.
        on_conflict: what to do with a text that has several labels. `majority` keeps the most frequent one, and drops
            the text if two labels are equally frequent. `drop` drops the text.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.text].append(example)
    merged = Merged([], {}, [])
    for text, group in groups.items():
        split = min((example.split for example in group), key=HELD_OUT_FIRST.__getitem__)
        labels = Counter(example.label for example in group)
        label = group[0].label
        if len(labels) > 1:
            (label, count), next_count = _votes(group, split)
            if on_conflict == "drop" or count == next_count:
                label = ""
            merged.conflicts.append(Conflict(text, dict(sorted(labels.items())), label))
        if label:
            time = min(example.time for example in group)
            merged.examples.append(Example(text, label, split, _usual_group(group), time))
        if len(group) > 1:
            merged.repeated[text] = len(group)
    return merged


def _votes(group: Sequence[Example], split: str) -> tuple[tuple[str, int], int]:
    """The most frequent label in a split with its count, and the count of the second most frequent one."""
    votes = Counter(example.label for example in group if example.split == split).most_common(2)
    return votes[0], votes[1][1] if len(votes) > 1 else 0


def _usual_group(examples: Sequence[Example]) -> str:
    """The group that most examples are of, whatever their order; empty only if none has a group."""
    counts = Counter(example.group for example in examples if example.group)
    return min(counts, key=lambda group: (-counts[group], group), default="")


def shingles(text: str) -> set[str]:
    """The character 4-grams of a text, regardless of case, punctuation and word boundaries at its ends."""
    words = "".join(map(_in_words, text.casefold())).split()
    padded = f" {' '.join(words or [text])} "
    return {padded[start : start + SHINGLE] for start in range(max(len(padded) - SHINGLE + 1, 1))}


@functools.cache
def _in_words(character: str) -> str:
    """What a character is in the words of a text: itself, a word of its own (emoji), nothing, or a boundary.

    Vowels of Indic scripts and accents are marks (category M), which are no letters by themselves but part of words.
    """
    category = unicodedata.category(character)
    if character.isalnum() or category[0] == "M":
        return character
    if category == "So":
        return f" {character} "
    return "" if character in JOINERS else " "


def near_duplicates(texts: Sequence[str], threshold: float) -> list[NearPair]:
    """Find the texts to remove so that no two of the others are near duplicates. Of a pair the earlier text is kept.

    Every removed text is a near duplicate of one that is kept. Chains are not joined: if a and b are near, and b and c,
    but not a and c, then a and c are both kept.

    Args:
        texts: in the order in which they are preferred.
        threshold: Jaccard similarity from which two texts are near duplicates.
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
    """The shingles of each text, as ones in an int32 matrix (texts, shingles). Columns go from rare to frequent."""
    sets = CountVectorizer(analyzer=shingles, binary=True, dtype=np.int32).fit_transform(texts)
    frequencies = np.bincount(sets.indices, minlength=sets.shape[1])
    ranks = np.empty(sets.shape[1], dtype=sets.indices.dtype)
    ranks[np.argsort(frequencies, kind="stable")] = np.arange(sets.shape[1])
    sets = sparse.csr_matrix((sets.data, ranks[sets.indices], sets.indptr), shape=sets.shape)
    sets.sort_indices()
    return sets


def _prefixes(sets: sparse.csr_matrix, threshold: float) -> tuple[sparse.csr_matrix, Integers]:
    """The rarest shingles of each text, and how many of them it has at least in common with any near duplicate.

    A near duplicate of a text has at least `needed` of its shingles. All but `needed - shared` of these are among the
    rarest `size - needed + shared` shingles of both texts.
    """
    sizes = np.diff(sets.indptr)
    needed = np.ceil(threshold * sizes - TOLERANCE).astype(np.int64)
    shared = np.minimum(needed, SHARED)
    lengths = sizes - needed + shared
    rank = np.arange(sets.nnz) - np.repeat(sets.indptr[:-1], sizes)
    in_prefix = rank < np.repeat(lengths, sizes)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return sparse.csr_matrix((sets.data[in_prefix], sets.indices[in_prefix], starts), shape=sets.shape), shared


def _compared(sets: sparse.csr_matrix, later: Integers, earlier: Integers, threshold: float) -> list[NearPair]:
    """The pairs that are near duplicates, sorted by the later text; for each of them the most similar one first."""
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
