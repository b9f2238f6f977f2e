"""Typing errors look like those of people and can be made again."""

import random

import pytest

from slipway.components.evaluate.typos import NEIGHBOURS, misspelt, with_typos

TEXTS = ["My parcel never arrived, please help", "I was charged twice for order 4711", "größe passt nicht 😀"] * 20


def distance(one: str, other: str) -> int:
    """Edits (insert, delete, replace, swap of neighbours) between two words: the optimal string alignment distance."""
    table = [[i + j if not i * j else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i in range(1, len(one) + 1):
        for j in range(1, len(other) + 1):
            table[i][j] = min(
                table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (one[i - 1] != other[j - 1])
            )
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


@pytest.mark.parametrize("word", ["parcel", "aaa", "größe", "Привет", "the"])
def test_a_misspelt_word_is_one_edit_away(word: str) -> None:
    chance = random.Random(1)
    made = {misspelt(word, chance) for _ in range(200)}
    assert {distance(word, other) for other in made} == {1}


def test_all_four_kinds_of_errors_occur() -> None:
    chance = random.Random(1)
    made = {misspelt("parcel", chance) for _ in range(500)}
    assert {"pracel", "parcl", "parccel", "psrcel"} <= made


def test_a_hit_key_is_beside_the_right_one() -> None:
    assert set(NEIGHBOURS["g"]) == set("rtyfhvbn")
    assert set(NEIGHBOURS["q"]) == set("was")


def test_without_a_rate_nothing_changes() -> None:
    assert with_typos(TEXTS, 0, 1) == TEXTS


def test_with_rate_one_every_longer_word_changes_and_nothing_else() -> None:
    for text, noisy in zip(TEXTS, with_typos(TEXTS, 1, 1), strict=True):
        for word, other in zip(text.split(), noisy.split(), strict=True):
            letters = word.strip(",")
            assert (word != other) == (len(letters) >= 3 and letters.isalpha()), (word, other)


def test_the_rate_is_the_share_of_changed_words() -> None:
    words = ["parcel"] * 4000
    changed = sum(word != "parcel" for word in " ".join(with_typos(words, 0.25, 2)).split())
    assert changed / len(words) == pytest.approx(0.25, abs=0.03)


def test_the_same_seed_makes_the_same_errors() -> None:
    assert with_typos(TEXTS, 0.5, 7) == with_typos(TEXTS, 0.5, 7)
    assert with_typos(TEXTS, 0.5, 7) != with_typos(TEXTS, 0.5, 8)
