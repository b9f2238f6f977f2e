"""Make unlabelled texts for distillation from the training texts. The teacher's predictions are their labels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from slipway.components.learning.batches import EncodedTexts

UNLABELLED = -1
NEIGHBOURS = 10
"""Number of tokens from which a replacement is drawn: the nearest ones in the teacher's embedding table."""
REPLACED, DROPPED = 0.2, 0.05
"""Shares of the tokens of a new text that are replaced, and that are left out."""
SHORTEST = 3
"""Least number of tokens of a span; shorter texts lose no tokens."""
CHUNK = 1024
"""Tokens whose neighbours are searched at once; it limits the memory."""
Integers = npt.NDArray[np.int64]


class Augmenter:
    """Makes texts that are similar to the training texts.

    A third of them are whole texts, a third are spans of texts, and a third are two spans of different texts, one after
    the other. Then some words are replaced by similar ones, and some are left out. Jiao et al. (2020, TinyBERT) do the
    same with a language model and GloVe; here similar words are neighbours in the teacher's own embedding table.

    Args:
        texts: the training texts.
        tokenizer: of the teacher; it shows which tokens are whole words.
        teacher: its embedding table is read.
        seed: of all choices; the same seed and epoch give the same texts.
    """

    def __init__(
        self, texts: EncodedTexts, tokenizer: PreTrainedTokenizerBase, teacher: PreTrainedModel, seed: int
    ) -> None:
        self.texts, self.seed = texts, seed
        special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self._inner = [[token for token in ids if token not in special] for ids in texts.token_ids]
        self._sources = [index for index, inner in enumerate(self._inner) if inner]
        self._longest = int(texts.lengths.max())
        self._begin, self._end = _surroundings(tokenizer(" ".join("abc")).input_ids, special)
        words = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._is_piece = np.array([str(word).startswith("##") for word in words])
        # "▁" (Unigram) and "Ġ" (BPE) mark the begin of a word. Only tokens of letters are replaced.
        used = np.unique(np.concatenate([np.asarray(inner, dtype=np.int64) for inner in self._inner]))
        used = used[[str(words[token]).strip("▁Ġ").isalpha() for token in used]]
        embeddings: Any = teacher.get_input_embeddings()
        table = embeddings.weight.detach()
        candidates = [i for i, word in enumerate(words[: len(table)]) if str(word).strip("▁Ġ").isalpha()]
        self._neighbours = _nearest(table, used, np.array(candidates, dtype=np.int64))

    def texts_of(self, epoch: int, count: int) -> EncodedTexts:
        """Make `count` new texts, with the label `UNLABELLED`."""
        generator = np.random.default_rng([self.seed, epoch])
        new_texts = [self._one(generator) for _ in range(count)]
        return EncodedTexts.of_ids(new_texts, np.full(count, UNLABELLED), self.texts.padding_id)

    def _one(self, generator: np.random.Generator) -> list[int]:
        kind = generator.integers(3)
        inner = self._source(generator)
        if kind == 1:
            inner = _span(inner, generator)
        elif kind == 2:
            inner = _span(inner, generator) + _span(self._source(generator), generator)
        inner = self._changed(inner, generator)
        limit = self._longest - len(self._begin) - len(self._end)
        return self._begin + inner[:limit] + self._end

    def _source(self, generator: np.random.Generator) -> list[int]:
        return self._inner[self._sources[generator.integers(len(self._sources))]]

    def _changed(self, inner: list[int], generator: np.random.Generator) -> list[int]:
        """Replace some words, and leave some out. Pieces of a longer word do not change."""
        chances = generator.random(len(inner))
        result = []
        for position, token in enumerate(inner):
            is_word = not (self._is_piece[token] or (position + 1 < len(inner) and self._is_piece[inner[position + 1]]))
            if is_word and chances[position] < DROPPED and len(inner) > SHORTEST:
                continue
            if is_word and chances[position] < DROPPED + REPLACED and token in self._neighbours:
                token = int(generator.choice(self._neighbours[token]))
            result.append(token)
        return result or inner


def _span(inner: list[int], generator: np.random.Generator) -> list[int]:
    """A random part of a text, of at least `SHORTEST` tokens if there are so many."""
    length = int(generator.integers(min(SHORTEST, len(inner)), len(inner) + 1))
    start = int(generator.integers(len(inner) - length + 1))
    return inner[start : start + length]


def _surroundings(ids: list[int], special: set[int]) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    begin = next((index for index, token in enumerate(ids) if token not in special), len(ids))
    end = next((index for index, token in enumerate(reversed(ids)) if token not in special), 0)
    return ids[:begin], ids[len(ids) - end :]


def _nearest(table: torch.Tensor, used: Integers, candidates: Integers) -> dict[int, Integers]:
    """For each used token the candidates with the highest cosine similarity, without the token itself."""
    unit = torch.nn.functional.normalize(table, dim=1)
    others = unit[candidates]
    result: dict[int, Integers] = {}
    count = min(NEIGHBOURS + 1, len(candidates))
    for start in range(0, len(used), CHUNK):
        part = used[start : start + CHUNK]
        best = (unit[part] @ others.T).topk(count, dim=1).indices.numpy()
        for token, row in zip(part, candidates[best], strict=True):
            result[int(token)] = row[row != token][:NEIGHBOURS]
    return {token: row for token, row in result.items() if len(row)}
