"""Equal and near-equal texts: what is found, what is kept."""

import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.components.artifacts.normalisation import clean
from slipway.components.prepare_data.duplicates import merge_equal, near_duplicates, shingles
from slipway.components.prepare_data.formats import Example


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of the shingles."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / len(a | b)


WORDS = st.lists(
    st.sampled_from(["aa", "ab", "abc", "abcd", "bcd", "cde", "my", "the", "parcel", "is", "late"]), max_size=7
).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS, max_size=30, unique=True), st.sampled_from([0.2, 0.5, 0.6, 0.75, 0.9, 1.0]))
def test_near_duplicates_are_exactly_those_of_comparing_every_pair(texts: list[str], threshold: float) -> None:
    kept: list[int] = []
    removed = set()
    for index, text in enumerate(texts):
        if any(similarity(text, texts[other]) >= threshold - 1e-9 for other in kept):
            removed.add(index)
        else:
            kept.append(index)
    pairs = near_duplicates(texts, threshold)
    assert {pair.removed for pair in pairs} == removed
    for pair in pairs:
        assert pair.kept in kept
        assert pair.similarity == pytest.approx(similarity(texts[pair.removed], texts[pair.kept]))
        assert pair.similarity == max(similarity(texts[pair.removed], texts[k]) for k in kept if k < pair.removed)


def test_near_duplicates_are_found_across_blocks_of_comparison() -> None:
    chance = random.Random(3)
    words = ["".join(chance.choices("abcdefghij", k=6)) for _ in range(400)]
    texts = [" ".join(chance.choices(words, k=8)) for _ in range(2500)]
    copies = {2400: 3, 2450: 1700, 20: 5}
    for copy, original in copies.items():
        texts[copy] = texts[original] + "!!"
    assert {pair.removed: pair.kept for pair in near_duplicates(texts, 0.6)} == copies


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("की", "का", False),
        ("किकि किकि", "कोको कोको", False),
        ("ok 😀", "ok 😡", False),
        ("😀", "😡", False),
        ("good😀", "good 😀!", True),
        ("می‌خواهم", "میخواهم", True),
        ("Zürich, 5 €", "zürich 5 €", True),
    ],
)
def test_letters_of_all_scripts_and_emoji_are_words(one: str, other: str, same: bool) -> None:
    assert (shingles(one) == shingles(other)) is same


def test_case_and_punctuation_do_not_hide_a_near_duplicate() -> None:
    texts = ["Where is my parcel?!", "where is my parcel", "WHERE  IS, MY PARCEL..."]
    assert [(pair.removed, pair.kept, pair.similarity) for pair in near_duplicates(texts, 1.0)] == [
        (1, 0, 1),
        (2, 0, 1),
    ]


def test_texts_without_letters_are_compared_too() -> None:
    assert [pair.removed for pair in near_duplicates(["???", "!!!", "???!", "😀😀", "a"], 1.0)] == []
    assert near_duplicates([], 0.5) == []


def test_equal_texts_are_merged_and_the_majority_label_is_kept() -> None:
    examples = [Example("a", "x"), Example("b", "y"), Example("a", "z"), Example("a", "z")]
    merged = merge_equal(examples, "majority")
    assert merged.examples == [Example("a", "z"), Example("b", "y")]
    assert merged.repeated == {"a": 3}
    assert [tuple(conflict) for conflict in merged.conflicts] == [("a", {"x": 1, "z": 2}, "z")]


def test_a_tie_of_labels_drops_the_text_and_so_does_the_setting_drop() -> None:
    examples = [Example("a", "x"), Example("a", "z"), Example("b", "x"), Example("b", "y"), Example("b", "y")]
    assert merge_equal(examples, "majority").examples == [Example("b", "y")]
    assert merge_equal(examples, "drop").examples == []


def test_of_equal_texts_in_ready_splits_the_held_out_one_is_kept() -> None:
    examples = [Example("a", "x", split) for split in ("train", "test", "validation")]
    assert merge_equal(examples, "majority").examples == [Example("a", "x", "test")]


def test_training_texts_do_not_change_the_label_of_a_held_out_one() -> None:
    examples = [Example("a", "x", "test"), Example("a", "y", "train"), Example("a", "y", "train")]
    merged = merge_equal(examples, "majority")
    assert merged.examples == [Example("a", "x", "test")]
    assert [tuple(conflict) for conflict in merged.conflicts] == [("a", {"x": 1, "y": 2}, "x")]


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("  two\t\r\n lines\u00a0here ", "two lines here"),
        ("cafe\u0301", "caf\u00e9"),
        ("a\x00b\u200bc\ufeff\u202e\ud800", "abc"),
        ("MiXeD Case", "MiXeD Case"),
        ("👩\u200d👧 ok", "👩\u200d👧 ok"),
        ("\u200b \x07", ""),
        ("fish &amp; chips", "fish &amp; chips"),
    ],
)
def test_cleaning_keeps_the_wording_and_drops_what_cannot_be_seen(raw: str, kept: str) -> None:
    assert clean(raw) == kept
    assert clean(kept) == kept


def test_html_entities_are_unescaped_on_request() -> None:
    assert clean("fish &amp; chips&nbsp;", unescape_html=True) == "fish & chips"


def test_shingles_of_any_two_different_words_differ() -> None:
    for one, other in combinations(["a", "b", "ab", "ba", "?", "!", "late"], 2):
        assert shingles(one) != shingles(other)
