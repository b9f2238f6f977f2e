"""The torch models from which variants are made: the teacher, a shallower student, and a pruned model."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedModel

from components import progress
from components.compress.architecture import check_supported
from components.compress.distil import Report, distil, distillation_loss, new_student, student_layers
from components.compress.prune import cut, importance
from components.compress.settings import CompressSettings
from components.train.batches import EncodedTexts

STEP = "compress"
REPORT_EVERY = 10


@dataclass(frozen=True)
class Candidate:
    """A torch model, its name, for example `student-3x384`, and the seconds that it took to make."""

    name: str
    model: PreTrainedModel
    seconds: float


def candidates(teacher: PreTrainedModel, texts: EncodedTexts, settings: CompressSettings) -> Iterator[Candidate]:
    """The teacher and what is made of it, each when the next is asked for.

    Raises:
        BadInput: the settings ask for a student or for pruning, and the teacher's architecture allows neither.
    """
    if settings.distil or settings.prune:
        check_supported(teacher)
    yield Candidate(_name("teacher", teacher), teacher, 0.0)
    model, kept = teacher, list(range(teacher.config.num_hidden_layers))
    if settings.distil and len(chosen := student_layers(len(kept), settings.layers_kept)) < len(kept):
        started = time.monotonic()
        model, kept = new_student(teacher, chosen), chosen
        name = _name("student", model)
        distil(teacher, model, kept, texts, settings, settings.distil_epochs, _reporter(name))
        yield Candidate(name, model, time.monotonic() - started)
    if settings.prune:
        started = time.monotonic()
        model = pruned(teacher, model, kept, texts, settings)
        yield Candidate(_name("pruned", model), model, time.monotonic() - started)


def pruned(
    teacher: PreTrainedModel,
    model: PreTrainedModel,
    kept: list[int],
    texts: EncodedTexts,
    settings: CompressSettings,
) -> PreTrainedModel:
    """A copy of `model` with fewer heads and neurons, which has recovered under distillation from the teacher.

    Args:
        teacher: the model to be imitated.
        model: the model to be pruned; not changed.
        kept: for each layer of the model the teacher's layer whose output it shall give.
        texts: the training texts.
        settings: how much is kept, and how long the recovery takes.
    """
    model = copy.deepcopy(model)
    progress.report(STEP, "measuring the importance of heads and neurons")
    order = np.random.default_rng(settings.seed).permutation(len(texts))[: settings.importance_texts]
    batches = (texts.batch(part) for part in np.array_split(order, -(-len(order) // settings.batch_size)))
    found = importance(model, batches, lambda batch: distillation_loss(teacher, model, kept, batch, settings))
    cut(model, found, settings.heads_kept, settings.neurons_kept)
    if settings.recovery_epochs:
        distil(teacher, model, kept, texts, settings, settings.recovery_epochs, _reporter(_name("pruned", model)))
    return model


def _name(kind: str, model: PreTrainedModel) -> str:
    return f"{kind}-{model.config.num_hidden_layers}x{model.config.hidden_size}"


def _reporter(name: str) -> Report:
    def report(update: int, updates: int, loss: float) -> None:
        if update % REPORT_EVERY == 0 or update == updates:
            progress.report(STEP, f"{name}: loss {loss:.3f}", update, updates)

    return report
