"""Typing errors like those of people, for the test of robustness (as the synthetic noise of Belinkov and Bisk 2018)."""

import random
import re
from collections.abc import Sequence

WORD = re.compile(r"[^\W\d_]{3,}")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """The neighbours of each letter on a QWERTY keyboard: left, right, and in the rows above and below."""
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
    """Put typing errors into some words of texts. The same seed makes the same errors.

    An error swaps two adjacent letters, drops a letter, doubles one, or replaces one by a neighbour on the keyboard.

    Args:
        texts: to be changed.
        rate: probability that a word of three letters or more gets an error.
        seed: of the errors.
    """
    generator = random.Random(seed)
    return [WORD.sub(lambda match: _perhaps_misspelt(match.group(), rate, generator), text) for text in texts]


def _perhaps_misspelt(word: str, rate: float, generator: random.Random) -> str:
    return misspelt(word, generator) if generator.random() < rate else word


def misspelt(word: str, generator: random.Random) -> str:
    """The word with one typing error. The result always differs from the word."""
    kinds = ["drop", "double", "neighbour"]
    swappable = [position for position in range(len(word) - 1) if word[position] != word[position + 1]]
    if swappable:
        kinds.append("swap")
    kind = generator.choice(kinds)
    if kind == "swap":
        position = generator.choice(swappable)
        return word[:position] + word[position + 1] + word[position] + word[position + 2 :]
    position = generator.randrange(len(word))
    letter = word[position]
    if kind == "drop":
        return word[:position] + word[position + 1 :]
    neighbours = NEIGHBOURS.get(letter.lower())
    if kind == "double" or neighbours is None:  # letters of other alphabets are doubled
        return word[:position] + letter + word[position:]
    neighbour = generator.choice(neighbours)
    return word[:position] + (neighbour.upper() if letter.isupper() else neighbour) + word[position + 1 :]
