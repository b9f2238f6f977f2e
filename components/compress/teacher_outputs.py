"""The teacher's outputs for the texts of each epoch: stored in a file when the texts repeat, otherwise live."""

import copy
from collections.abc import Callable, Sequence
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
"""Texts in one forward pass of the teacher."""


class TeacherBatch(NamedTuple):
    """A batch of texts with the teacher's outputs.

    `logits` is float32 (texts, classes). `states` is float32 (tokens, layers, dimensions); its tokens are those of all
    texts one after another, without padding. `relations` are queries, keys and values of the last layer, each float32
    (texts, tokens, width), or empty when they are not used.
    """

    batch: Tensors
    logits: torch.Tensor
    states: torch.Tensor
    relations: list[torch.Tensor] = []  # noqa: RUF012  # never changed


class EpochOutputs(Protocol):
    """The texts of one epoch with the teacher's outputs."""

    @property
    def texts(self) -> EncodedTexts:
        """The texts."""

    def batch_of(self, indices: Indices) -> TeacherBatch:
        """The texts with these indices, padded to the longest of them, with the teacher's outputs."""


class TeacherOutputs(Protocol):
    """The teacher's outputs for all epochs. Every epoch has the same number of texts."""

    texts: EncodedTexts
    """The training texts."""
    size: int
    """Number of texts of an epoch."""

    def for_student(self, layers: Sequence[int], dimensions: torch.Tensor | None) -> "TeacherOutputs":
        """The same outputs for one student.

        Args:
            layers: indices of its layers among the teacher's; this object must have all of them.
            dimensions: indices of the hidden dimensions that it has; None for all.
        """

    def epoch(self, number: int) -> EpochOutputs:
        """The texts and outputs of one epoch."""


class StoredOutputs:
    """The teacher's logits, and its hidden states after each of the layers `layers`, for all training texts.

    The teacher's outputs for a text never change. To compute them again in each epoch, or for each student, would take
    two fifths of the time. The states are stored in a file, in half precision; see `stored_bytes`.

    Args:
        teacher: in evaluation mode.
        layers: indices of the layers of all students together, from 0.
        texts: the training texts.
        folder: gets the file.
        out_of_time: is asked before each batch. When it says yes, the other texts get no outputs, since there is no
            time to use them.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        layers: Sequence[int],
        texts: EncodedTexts,
        folder: Path,
        out_of_time: Callable[[], bool] = lambda: False,
    ) -> None:
        self.texts, self.layers, self.size = texts, list(layers), len(texts)
        self.dimensions: torch.Tensor | None = None
        self._layer_indices = list(range(len(self.layers)))
        self.logits = torch.zeros((len(texts), int(teacher.config.num_labels or 0)))
        ends = np.cumsum(texts.lengths)
        self._starts = ends - texts.lengths
        shape = (int(ends[-1]), len(self.layers), int(teacher.config.hidden_size))
        self._states = np.memmap(folder / "states.float16", dtype=np.float16, mode="w+", shape=shape)
        order = np.argsort(texts.lengths, kind="stable")
        parts = np.array_split(order, -(-len(order) // TEACHER_BATCH))
        for number, part in enumerate(parts, 1):
            if out_of_time():
                break
            self._store(teacher, part)
            if number % 10 == 0 or number == len(parts):
                progress.report(STEP, "asking the teacher", number, len(parts))

    def for_student(self, layers: Sequence[int], dimensions: torch.Tensor | None) -> "StoredOutputs":
        """The same outputs for one student, from the same file."""
        other = copy.copy(self)
        other._layer_indices, other.dimensions = [self.layers.index(layer) for layer in layers], dimensions
        return other

    def epoch(self, _number: int) -> "StoredOutputs":
        """Returns itself, since all epochs have the same texts."""
        return self

    def batch_of(self, indices: Indices) -> TeacherBatch:
        """The texts with these indices, padded to the longest of them, with the teacher's outputs."""
        states = np.concatenate([self._states[self._rows(index), self._layer_indices] for index in indices]).astype(
            np.float32
        )
        return TeacherBatch(
            self.texts.batch(indices), self.logits[indices], in_dimensions(torch.from_numpy(states), self.dimensions)
        )

    def _store(self, teacher: PreTrainedModel, indices: Indices) -> None:
        with torch.inference_mode():
            outputs = teacher(**self.texts.batch(indices).inputs, output_hidden_states=True)
        self.logits[indices] = outputs.logits
        states = torch.stack([outputs.hidden_states[layer + 1] for layer in self.layers], dim=2).numpy()
        for row, index in enumerate(indices):
            self._states[self._rows(index)] = states[row, : self.texts.lengths[index]]

    def _rows(self, index: int) -> slice:
        """The rows of the file with the tokens of a text."""
        return slice(self._starts[index], self._starts[index] + self.texts.lengths[index])


def stored_bytes(teacher: PreTrainedModel, layers: Sequence[int], texts: EncodedTexts) -> int:
    """Size of the file that `StoredOutputs` would write: 2 bytes x tokens x layers x dimensions."""
    return 2 * int(texts.lengths.sum()) * len(layers) * int(teacher.config.hidden_size)


def in_dimensions(states: torch.Tensor, dimensions: torch.Tensor | None) -> torch.Tensor:
    """The states with some of their dimensions only; `None` keeps all."""
    return states if dimensions is None else states[..., dimensions]


class LiveEpoch:
    """The texts of one epoch. The teacher's outputs are computed for each batch.

    Args:
        teacher: in evaluation mode.
        layers: indices of the layers whose hidden states are returned, from 0.
        texts: of the epoch.
        with_relations: whether the relations of the last layer are returned.
        dimensions: indices of the hidden dimensions that are returned; None for all.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        layers: Sequence[int],
        texts: EncodedTexts,
        with_relations: bool = False,
        dimensions: torch.Tensor | None = None,
    ) -> None:
        self.teacher, self.layers, self.texts, self.with_relations = teacher, list(layers), texts, with_relations
        self.dimensions = dimensions

    def batch_of(self, indices: Indices) -> TeacherBatch:
        """The texts with these indices, padded to the longest of them, with the teacher's outputs."""
        batch = self.texts.batch(indices)
        tokens = batch.inputs["attention_mask"].bool()
        with torch.no_grad():
            if self.with_relations:
                with relations.recorded(self.teacher) as recorded:
                    outputs = self.teacher(**batch.inputs, output_hidden_states=True)
            else:
                recorded, outputs = [], self.teacher(**batch.inputs, output_hidden_states=True)
            states = torch.stack([outputs.hidden_states[layer + 1][tokens].float() for layer in self.layers], dim=1)
        return TeacherBatch(batch, outputs.logits.float(), in_dimensions(states, self.dimensions), list(recorded))


class LiveOutputs:
    """The teacher's outputs for all training texts and `new_texts` new texts in each epoch, computed for each batch.

    Args:
        teacher: in evaluation mode.
        layers: indices of the layers whose hidden states are returned, from 0.
        texts: the training texts.
        augmenter: makes the new texts; None when `new_texts` is 0.
        new_texts: number of new texts in an epoch.
        with_relations: whether the relations of the last layer are returned.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        layers: Sequence[int],
        texts: EncodedTexts,
        augmenter: Augmenter | None,
        new_texts: int,
        with_relations: bool,
    ) -> None:
        self.teacher, self.layers, self.texts, self.with_relations = teacher, layers, texts, with_relations
        self.augmenter, self.new_texts = augmenter, new_texts if augmenter else 0
        self.size = len(texts) + self.new_texts
        self.dimensions: torch.Tensor | None = None

    def for_student(self, layers: Sequence[int], dimensions: torch.Tensor | None) -> "LiveOutputs":
        """The same outputs for one student; only the hidden states of its layers are computed."""
        other = copy.copy(self)
        other.layers, other.dimensions = layers, dimensions
        return other

    def epoch(self, number: int) -> LiveEpoch:
        """The training texts, and the new texts of this epoch."""
        texts = self.texts
        if self.augmenter and self.new_texts:
            new = self.augmenter.texts_of(number, self.new_texts)
            label_ids = np.concatenate([texts.label_ids, new.label_ids])
            texts = EncodedTexts.of_ids(texts.token_ids + new.token_ids, label_ids, texts.padding_id)
        return LiveEpoch(self.teacher, self.layers, texts, self.with_relations, self.dimensions)
