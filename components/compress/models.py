"""The torch models from which variants are made: the teacher, a shallower student, and a pruned model."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from components import progress
from components.compress.architecture import check_supported
from components.compress.distil import Report, distil, distillation_loss, new_student, student_layers
from components.compress.lessons import STEP, Lessons
from components.compress.prune import cut, importance
from components.compress.settings import CompressSettings
from components.train.batches import EncodedTexts

REPORT_EVERY = 10


@dataclass(frozen=True)
class Candidate:
    """A torch model, its name, for example `student-3x384`, and the seconds that it took to make."""

    name: str
    model: PreTrainedModel
    seconds: float


def candidates(
    teacher: PreTrainedModel, texts: EncodedTexts, settings: CompressSettings, work: Path
) -> Iterator[Candidate]:
    """The teacher and what is made of it, each when the next is asked for.

    Args:
        teacher: in evaluation mode; not changed.
        texts: the training texts.
        settings: which models are made, and how.
        work: folder for what need not last.

    Raises:
        BadInput: the settings ask for a student or for pruning, and the teacher's architecture allows neither.
    """
    if settings.distil or settings.prune:
        check_supported(teacher)
    yield Candidate(_name("teacher", teacher), teacher, 0.0)
    depth = int(teacher.config.num_hidden_layers)
    kept = student_layers(depth, settings.layers_kept if settings.distil else 1.0)
    shallower = len(kept) < depth
    if not shallower and not settings.prune:
        return
    started = time.monotonic()
    lessons = Lessons(teacher, kept, texts, work)
    model = teacher
    if shallower:
        model = new_student(teacher, kept)
        name = _name("student", model)
        distil(model, lessons, settings, settings.distil_epochs, _reporter(name))
        yield Candidate(name, model, time.monotonic() - started)
    if settings.prune:
        started = time.monotonic()
        model = pruned(model, lessons, settings)
        yield Candidate(_name("pruned", model), model, time.monotonic() - started)


def pruned(model: PreTrainedModel, lessons: Lessons, settings: CompressSettings) -> PreTrainedModel:
    """A copy of `model` with fewer heads and neurons, which has recovered under distillation from the teacher."""
    model = copy.deepcopy(model)
    progress.report(STEP, "measuring the importance of heads and neurons")
    order = np.random.default_rng(settings.seed).permutation(len(lessons.texts))[: settings.importance_texts]
    parts = np.array_split(order, -(-len(order) // settings.batch_size))
    found = importance(model, map(lessons.lesson, parts), lambda lesson: distillation_loss(model, lesson, settings))
    cut(model, found, settings.heads_kept, settings.neurons_kept)
    if settings.recovery_epochs:
        distil(model, lessons, settings, settings.recovery_epochs, _reporter(_name("pruned", model)))
    return model


def _name(kind: str, model: PreTrainedModel) -> str:
    return f"{kind}-{model.config.num_hidden_layers}x{model.config.hidden_size}"


def _reporter(name: str) -> Report:
    def report(update: int, updates: int, loss: float) -> None:
        if update % REPORT_EVERY == 0 or update == updates:
            progress.report(STEP, f"{name}: loss {loss:.3f}", update, updates)

    return report
