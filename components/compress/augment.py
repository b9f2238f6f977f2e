"""Unlabelled texts for distillation, made of the training texts alone; the teacher says what they are."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from slipway.components.learning.batches import EncodedTexts

UNLABELLED = -1
NEIGHBOURS = 10
"""Tokens among which a replacement is drawn: the nearest in the teacher's embedding table."""
REPLACED, DROPPED = 0.2, 0.05
"""Shares of the tokens of a made text."""
SHORTEST = 3
CHUNK = 1024
Integers = npt.NDArray[np.int64]


class Augmenter:
    """Makes texts that look like the training texts but are none.

    A third are whole texts, a third spans of texts, a third two spans of different texts, one after the other. In all
    of them some words are replaced by near ones (as Jiao et al. 2020, TinyBERT, who take neighbours from a language
    model and from GloVe; here they are those of the teacher's own embedding table) and some are left out.

    Args:
        texts: the training texts.
        tokenizer: of the teacher; tells which tokens are whole words.
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
        used = np.unique(np.concatenate([np.asarray(inner, dtype=np.int64) for inner in self._inner]))
        used = used[[str(words[token]).strip("▁Ġ").isalpha() for token in used]]
        embeddings: Any = teacher.get_input_embeddings()
        table = embeddings.weight.detach()
        candidates = [i for i, word in enumerate(words[: len(table)]) if str(word).strip("▁Ġ").isalpha()]
        self._neighbours = _nearest(table, used, np.array(candidates, dtype=np.int64))

    def texts_of(self, epoch: int, count: int) -> EncodedTexts:
        """`count` new texts, whose label is `UNLABELLED`."""
        generator = np.random.default_rng([self.seed, epoch])
        made = [self._one(generator) for _ in range(count)]
        return EncodedTexts.of_ids(made, np.full(count, UNLABELLED), self.texts.padding_id)

    def _one(self, generator: np.random.Generator) -> list[int]:
        kind = generator.integers(3)
        inner = self._source(generator)
        if kind == 1:
            inner = _span(inner, generator)
        elif kind == 2:
            inner = _span(inner, generator) + _span(self._source(generator), generator)
        inner = self._changed(inner, generator)
        room = self._longest - len(self._begin) - len(self._end)
        return self._begin + inner[:room] + self._end

    def _source(self, generator: np.random.Generator) -> list[int]:
        return self._inner[self._sources[generator.integers(len(self._sources))]]

    def _changed(self, inner: list[int], generator: np.random.Generator) -> list[int]:
        """With words replaced and left out; pieces of a longer word stay as they are."""
        chances = generator.random(len(inner))
        result = []
        for place, token in enumerate(inner):
            whole = not (self._is_piece[token] or (place + 1 < len(inner) and self._is_piece[inner[place + 1]]))
            if whole and chances[place] < DROPPED and len(inner) > SHORTEST:
                continue
            if whole and chances[place] < DROPPED + REPLACED and token in self._neighbours:
                token = int(generator.choice(self._neighbours[token]))
            result.append(token)
        return result or inner


def _span(inner: list[int], generator: np.random.Generator) -> list[int]:
    """A part of at least `SHORTEST` tokens, if there are as many."""
    length = int(generator.integers(min(SHORTEST, len(inner)), len(inner) + 1))
    start = int(generator.integers(len(inner) - length + 1))
    return inner[start : start + length]


def _surroundings(ids: list[int], special: set[int]) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text."""
    begin = next((place for place, token in enumerate(ids) if token not in special), len(ids))
    end = next((place for place, token in enumerate(reversed(ids)) if token not in special), 0)
    return ids[:begin], ids[len(ids) - end :]


def _nearest(table: torch.Tensor, used: Integers, candidates: Integers) -> dict[int, Integers]:
    """For each used token the candidates with the highest cosine similarity, itself left out."""
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
