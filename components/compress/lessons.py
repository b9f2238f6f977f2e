"""What the teacher says about the training texts, asked once and kept on disk for all epochs and students."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from components import progress
from components.train.batches import EncodedTexts, Indices, Tensors

STEP = "compress"
TEACHER_BATCH = 32


class Lesson(NamedTuple):
    """A batch of texts with the teacher's answers.

    `logits` is float32 (texts, classes); `states` is float32 (tokens, layers, dimensions), where tokens are those of
    all texts one after another, without padding.
    """

    batch: Tensors
    logits: torch.Tensor
    states: torch.Tensor


class Lessons:
    """The teacher's logits, and its hidden states after each of the layers `kept`, for all training texts.

    The teacher always gives the same answer to a text, so asking again in each epoch would be a waste of two
    fifths of the time. The states lie in a file, in half precision: 2 bytes x tokens x layers x dimensions.

    Args:
        teacher: in evaluation mode.
        kept: layers, from 0.
        texts: the training texts.
        folder: where the file goes.
    """

    def __init__(self, teacher: PreTrainedModel, kept: Sequence[int], texts: EncodedTexts, folder: Path) -> None:
        self.texts, self.kept = texts, list(kept)
        self.logits = torch.zeros((len(texts), int(teacher.config.num_labels or 0)))
        ends = np.cumsum(texts.lengths)
        self._starts = ends - texts.lengths
        shape = (int(ends[-1]), len(self.kept), int(teacher.config.hidden_size))
        self._states = np.memmap(folder / "states.float16", dtype=np.float16, mode="w+", shape=shape)
        order = np.argsort(texts.lengths, kind="stable")
        parts = np.array_split(order, -(-len(order) // TEACHER_BATCH))
        for number, part in enumerate(parts, 1):
            self._ask(teacher, part)
            if number % 10 == 0 or number == len(parts):
                progress.report(STEP, "asking the teacher", number, len(parts))

    def lesson(self, indices: Indices) -> Lesson:
        """The given texts, padded to the longest of them, with the teacher's answers."""
        states = np.concatenate([self._states[self._place(index)] for index in indices]).astype(np.float32)
        return Lesson(self.texts.batch(indices), self.logits[indices], torch.from_numpy(states))

    def _ask(self, teacher: PreTrainedModel, indices: Indices) -> None:
        with torch.inference_mode():
            answer = teacher(**self.texts.batch(indices).inputs, output_hidden_states=True)
        self.logits[indices] = answer.logits
        states = torch.stack([answer.hidden_states[layer + 1] for layer in self.kept], dim=2).numpy()
        for row, index in enumerate(indices):
            self._states[self._place(index)] = states[row, : self.texts.lengths[index]]

    def _place(self, index: int) -> slice:
        return slice(self._starts[index], self._starts[index] + self.texts.lengths[index])
