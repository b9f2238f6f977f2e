"""Typing errors as people make them, to see what they cost a model (as in Belinkov and Bisk 2018, synthetic noise)."""

import random
import re
from collections.abc import Sequence

WORD = re.compile(r"[^\W\d_]{3,}")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """The letters beside each letter on a QWERTY keyboard: left, right, and in the rows above and below."""
    places = {letter: (row, column) for row, letters in enumerate(ROWS) for column, letter in enumerate(letters)}
    return {
        letter: "".join(
            other
            for other, (other_row, other_column) in places.items()
            if other != letter and abs(row - other_row) <= 1 and abs(column - other_column) <= 1
        )
        for letter, (row, column) in places.items()
    }


NEIGHBOURS = _neighbours()


def with_typos(texts: Sequence[str], rate: float, seed: int) -> list[str]:
    """The texts with an error in some words: each word of three letters or more gets one with probability `rate`.

    An error swaps two adjacent letters, drops a letter, doubles one, or hits a neighbouring key; the same seed makes
    the same errors.
    """
    chance = random.Random(seed)
    return [WORD.sub(lambda found: _maybe(found.group(), rate, chance), text) for text in texts]


def _maybe(word: str, rate: float, chance: random.Random) -> str:
    return misspelt(word, chance) if chance.random() < rate else word


def misspelt(word: str, chance: random.Random) -> str:
    """The word with one typing error; it is always another word."""
    kinds = ["drop", "double", "neighbour"]
    swappable = [place for place in range(len(word) - 1) if word[place] != word[place + 1]]
    if swappable:
        kinds.append("swap")
    kind = chance.choice(kinds)
    if kind == "swap":
        place = chance.choice(swappable)
        return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    place = chance.randrange(len(word))
    letter = word[place]
    if kind == "drop":
        return word[:place] + word[place + 1 :]
    near = NEIGHBOURS.get(letter.lower())
    if kind == "double" or near is None:  # letters of other alphabets are doubled
        return word[:place] + letter + word[place:]
    hit = chance.choice(near)
    return word[:place] + (hit.upper() if letter.isupper() else hit) + word[place + 1 :]
