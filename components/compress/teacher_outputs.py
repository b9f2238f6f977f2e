"""What the teacher says about texts: asked once for those that return in each epoch, live for those that do not."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from transformers import PreTrainedModel

from slipway.components.compress import relations
from slipway.components.compress.augment import Augmenter
from slipway.components.learning.batches import EncodedTexts, Indices, Tensors
from slipway.components.step_runtime import progress

STEP = "compress"
TEACHER_BATCH = 32


class Lesson(NamedTuple):
    """A batch of texts with the teacher's answers.

    `logits` is float32 (texts, classes); `states` is float32 (tokens, layers, dimensions), where tokens are those of
    all texts one after another, without padding; `relations` are queries, keys and values of the last layer, each
    float32 (texts, tokens, width), or empty when they were not asked for.
    """

    batch: Tensors
    logits: torch.Tensor
    states: torch.Tensor
    relations: list[torch.Tensor] = []  # noqa: RUF012  # never changed


class Teaching(Protocol):
    """The texts of one epoch, with the teacher's answers."""

    @property
    def texts(self) -> EncodedTexts:
        """The texts."""

    def lesson(self, indices: Indices) -> Lesson:
        """The given texts, padded to the longest of them, with the teacher's answers."""


class School(Protocol):
    """What is taught in each epoch; every epoch has the same number of texts."""

    texts: EncodedTexts
    """The training texts."""
    size: int
    """Texts of an epoch."""

    def of(self, kept: Sequence[int], dimensions: torch.Tensor | None) -> "School":
        """The same lessons for one student.

        Args:
            kept: its layers, all of them layers of this school.
            dimensions: of the hidden states that are told; None for all.
        """

    def epoch(self, number: int) -> Teaching:
        """What is taught in this epoch."""


class Lessons:
    """The teacher's logits, and its hidden states after each of the layers `kept`, for all training texts.

    The teacher always gives the same answer to a text, so asking again in each epoch, or for each student, would be a
    waste of two fifths of the time. The states lie in a file, in half precision: 2 bytes x tokens x layers x
    dimensions.

    Args:
        teacher: in evaluation mode.
        kept: layers, from 0: of all students together.
        texts: the training texts.
        folder: where the file goes.
    """

    def __init__(self, teacher: PreTrainedModel, kept: Sequence[int], texts: EncodedTexts, folder: Path) -> None:
        self.texts, self.kept, self.size = texts, list(kept), len(texts)
        self.dimensions: torch.Tensor | None = None
        self._told = list(range(len(self.kept)))
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

    def of(self, kept: Sequence[int], dimensions: torch.Tensor | None) -> "Lessons":
        """The same lessons for one student, from the same file."""
        other = copy.copy(self)
        other._told, other.dimensions = [self.kept.index(layer) for layer in kept], dimensions
        return other

    def epoch(self, _number: int) -> "Lessons":
        """The same texts in each epoch."""
        return self

    def lesson(self, indices: Indices) -> Lesson:
        """The given texts, padded to the longest of them, with the teacher's answers."""
        states = np.concatenate([self._states[self._place(index), self._told] for index in indices]).astype(np.float32)
        return Lesson(self.texts.batch(indices), self.logits[indices], told(torch.from_numpy(states), self.dimensions))

    def _ask(self, teacher: PreTrainedModel, indices: Indices) -> None:
        with torch.inference_mode():
            answer = teacher(**self.texts.batch(indices).inputs, output_hidden_states=True)
        self.logits[indices] = answer.logits
        states = torch.stack([answer.hidden_states[layer + 1] for layer in self.kept], dim=2).numpy()
        for row, index in enumerate(indices):
            self._states[self._place(index)] = states[row, : self.texts.lengths[index]]

    def _place(self, index: int) -> slice:
        return slice(self._starts[index], self._starts[index] + self.texts.lengths[index])


def told(states: torch.Tensor, dimensions: torch.Tensor | None) -> torch.Tensor:
    """The states in some of their dimensions, or in all."""
    return states if dimensions is None else states[..., dimensions]


class LiveTeaching:
    """Texts about which the teacher is asked when they come, since they come once.

    Args:
        teacher: in evaluation mode.
        kept: layers whose hidden states are told, from 0.
        texts: the texts.
        with_relations: whether the relations of the last layer are told.
        dimensions: of the hidden states that are told; None for all.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        kept: Sequence[int],
        texts: EncodedTexts,
        with_relations: bool = False,
        dimensions: torch.Tensor | None = None,
    ) -> None:
        self.teacher, self.kept, self.texts, self.with_relations = teacher, list(kept), texts, with_relations
        self.dimensions = dimensions

    def lesson(self, indices: Indices) -> Lesson:
        """The given texts, padded to the longest of them, with the teacher's answers."""
        batch = self.texts.batch(indices)
        tokens = batch.inputs["attention_mask"].bool()
        with torch.no_grad():
            if self.with_relations:
                with relations.recorded(self.teacher) as found:
                    answer = self.teacher(**batch.inputs, output_hidden_states=True)
            else:
                found, answer = [], self.teacher(**batch.inputs, output_hidden_states=True)
            states = torch.stack([answer.hidden_states[layer + 1][tokens].float() for layer in self.kept], dim=1)
        return Lesson(batch, answer.logits.float(), told(states, self.dimensions), list(found))


class LiveSchool:
    """In each epoch all training texts and `made` new ones.

    Args:
        teacher: in evaluation mode.
        kept: layers whose hidden states are told, from 0.
        texts: the training texts.
        augmenter: makes the new ones; None when `made` is 0.
        made: new texts of an epoch.
        with_relations: whether the relations of the last layer are told.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        kept: Sequence[int],
        texts: EncodedTexts,
        augmenter: Augmenter | None,
        made: int,
        with_relations: bool,
    ) -> None:
        self.teacher, self.kept, self.texts, self.with_relations = teacher, kept, texts, with_relations
        self.augmenter, self.made = augmenter, made if augmenter else 0
        self.size = len(texts) + self.made
        self.dimensions: torch.Tensor | None = None

    def of(self, kept: Sequence[int], dimensions: torch.Tensor | None) -> "LiveSchool":
        """The same lessons for one student; the teacher tells the states of its layers only."""
        other = copy.copy(self)
        other.kept, other.dimensions = kept, dimensions
        return other

    def epoch(self, number: int) -> LiveTeaching:
        """What is taught in this epoch."""
        texts = self.texts
        if self.augmenter and self.made:
            new = self.augmenter.texts_of(number, self.made)
            label_ids = np.concatenate([texts.label_ids, new.label_ids])
            texts = EncodedTexts.of_ids(texts.token_ids + new.token_ids, label_ids, texts.padding_id)
        return LiveTeaching(self.teacher, self.kept, texts, self.with_relations, self.dimensions)
