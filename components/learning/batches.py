"""Batches for data-parallel training: which texts each process gets in each update, as padded tensors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedTokenizerBase

from slipway.components.errors import BadInput

Indices = npt.NDArray[np.int64]
Shards = list[Indices]
"""The batches of one step: an array of text indices, shape (texts,), for each process."""

STEPS_PER_POOL = 8
"""Texts of so many steps are sorted by length together. More would reduce the padding, but also the randomness."""


class Tensors(NamedTuple):
    """A batch: `inputs` holds input_ids and attention_mask, int64 (texts, tokens); `labels` is int64 (texts,)."""

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor


class EncodedTexts:
    """Texts as lists of token ids without padding, with their labels.

    Args:
        texts: to be tokenized.
        label_ids: index of each text's label, shape (texts,).
        tokenizer: of the model.
        max_length: longer texts are cut to so many tokens.
    """

    def __init__(
        self, texts: Sequence[str], label_ids: Indices, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> None:
        encoded = tokenizer(list(texts), truncation=True, max_length=max_length, return_token_type_ids=False)
        self.token_ids: list[list[int]] = list(encoded["input_ids"]) if texts else []
        self.label_ids = label_ids
        self.padding_id = int(tokenizer.pad_token_id or 0)
        self.lengths = np.array([len(ids) for ids in self.token_ids], dtype=np.int64)

    @classmethod
    def of_ids(cls, token_ids: list[list[int]], label_ids: Indices, padding_id: int) -> "EncodedTexts":
        """Make it from texts that are token ids already, with special tokens."""
        texts = cls.__new__(cls)
        texts.token_ids, texts.label_ids, texts.padding_id = token_ids, label_ids, padding_id
        texts.lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
        return texts

    def __len__(self) -> int:
        return len(self.token_ids)

    def batch(self, indices: Indices) -> Tensors:
        """The texts with the given indices, padded to the longest of them."""
        width = int(self.lengths[indices].max())
        input_ids = torch.full((len(indices), width), self.padding_id, dtype=torch.int64)
        mask = torch.zeros((len(indices), width), dtype=torch.int64)
        for row, index in enumerate(indices):
            ids = self.token_ids[index]
            input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
            mask[row, : len(ids)] = 1
        labels = torch.from_numpy(self.label_ids[indices])
        return Tensors({"input_ids": input_ids, "attention_mask": mask}, labels)


def steps_per_epoch(texts: int, batch_size: int, processes: int) -> int:
    """The number of forward passes of each process in one epoch.

    Raises:
        BadInput: there are fewer texts than processes.
    """
    if texts < processes:
        raise BadInput(
            f"{texts} training texts cannot be shared among {processes} processes; "
            f"set train.processes to {max(texts, 1)} or less"
        )
    return -(-texts // (batch_size * processes))


def epoch_steps(lengths: Indices, batch_size: int, processes: int, seed: int, epoch: int) -> list[Shards]:
    """The batches of one epoch. They depend on the arguments only, so that every process computes the same.

    Texts are shuffled, sorted by length within pools of `STEPS_PER_POOL` steps, and cut into steps of nearly equal
    size. Then the steps are shuffled. Each text occurs once. Every process gets the same number of batches, none of
    them empty. The texts of a step have similar lengths, so that no process waits long for another.

    Args:
        lengths: tokens of each text, shape (texts,).
        batch_size: most texts of a batch.
        processes: number of processes.
        seed: of the training.
        epoch: number of the epoch.

    Raises:
        BadInput: there are fewer texts than processes.
    """
    steps = steps_per_epoch(len(lengths), batch_size, processes)
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    ends = np.arange(1, steps + 1) * len(lengths) // steps
    pools = np.split(order, ends[STEPS_PER_POOL - 1 : -1 : STEPS_PER_POOL])
    ordered = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
    cut = np.split(ordered, ends[:-1])
    return [[cut[step][rank::processes] for rank in range(processes)] for step in generator.permutation(steps)]


def group_updates(steps: list[Shards], accumulation: int) -> list[list[Shards]]:
    """Group steps into updates of `accumulation` steps. The last group may be smaller."""
    return [steps[start : start + accumulation] for start in range(0, len(steps), accumulation)]
