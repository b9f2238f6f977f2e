"""The torch models from which variants are made: the teacher, smaller students, and pruned models."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from slipway.components.compress.augment import Augmenter
from slipway.components.compress.distil import Report, distil, distillation_loss, new_student
from slipway.components.compress.narrow import most_varied, narrow
from slipway.components.compress.plan import Student, plan
from slipway.components.compress.prune import cut, importance, schedule, sizes
from slipway.components.compress.search_state import SearchState, take_weights
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import STEP, Lessons, LiveSchool, LiveTeaching, School
from slipway.components.learning.batches import EncodedTexts, Indices
from slipway.components.step_runtime import progress

REPORT_EVERY = 10


@dataclass(frozen=True)
class Candidate:
    """A torch model, its name, for example `student-3x384`, and the seconds that it took to make."""

    name: str
    model: PreTrainedModel
    seconds: float


def candidates(
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: EncodedTexts,
    settings: CompressSettings,
    stages: SearchState,
) -> Iterator[Candidate]:
    """The teacher and what is made of it, each when the next is asked for.

    Args:
        teacher: in evaluation mode; not changed.
        tokenizer: the teacher's.
        texts: the training texts.
        settings: which models are made, and how.
        stages: what an earlier run has done; ends the search when the budget is spent.

    Raises:
        BadInput: the settings ask for a student or for pruning, and the teacher's architecture allows neither.
    """
    students = plan(teacher, settings)
    yield Candidate(f"teacher-{teacher.config.num_hidden_layers}x{teacher.config.hidden_size}", teacher, 0.0)
    school: School | None = None
    for student in students:
        if school is not None and stages.leaves_out(student.stages):
            continue
        started = time.monotonic()
        if school is None:
            kept = sorted({layer for each in students for layer in each.layers})
            school = _school(teacher, tokenizer, kept, texts, settings, stages)
        yield from _made(student, teacher, school, settings, stages, started)


def _made(
    student: Student,
    teacher: PreTrainedModel,
    school: School,
    settings: CompressSettings,
    stages: SearchState,
    started: float,
) -> Iterator[Candidate]:
    """The student and what is pruned of it, or what is pruned of the teacher."""
    model, dimensions = _shaped(student, teacher, school.texts, settings)
    school = school.of(student.layers, dimensions)
    if student.name:
        teach = partial(_taught, model, school, settings, stages, student.name)
        candidate = _staged(student.name, model, teach, stages, started)
        model = candidate.model
        yield candidate
    for pruning in student.prunings:
        if stages.leaves_out([pruning.name]):
            continue
        prune = partial(pruned, model, school, pruning.settings, stages, pruning.name)
        yield _staged(pruning.name, model, prune, stages, time.monotonic())


def _shaped(
    student: Student, teacher: PreTrainedModel, texts: EncodedTexts, settings: CompressSettings
) -> tuple[PreTrainedModel, torch.Tensor | None]:
    """A student that has learned nothing yet, and which dimensions of the hidden states it has; None for all."""
    if not student.name:
        return teacher, None
    model = new_student(teacher, student.layers)
    if student.width_kept == 1:
        return model, None
    dimensions = most_varied(_some_states(teacher, student.layers, texts, settings), student.width_kept)
    narrow(model, dimensions)
    return model, dimensions


def _taught(
    model: PreTrainedModel, school: School, settings: CompressSettings, stages: SearchState, name: str
) -> PreTrainedModel:
    distil(model, school, settings, settings.distil_epochs, _reporter(name), stages, name)
    return model


def pruned(
    model: PreTrainedModel,
    school: School,
    settings: CompressSettings,
    stages: SearchState | None = None,
    name: str = "",
) -> PreTrainedModel:
    """A copy of `model` with fewer heads and neurons, which has recovered under distillation from the teacher.

    The heads and neurons go in `prune_rounds` cuts, and the epochs of recovery are spread over them.
    """
    model = copy.deepcopy(model)
    heads, neurons = (schedule(kept, settings.prune_rounds) for kept in (settings.heads_kept, settings.neurons_kept))
    epochs = [len(part) for part in np.array_split(range(settings.recovery_epochs), settings.prune_rounds)][::-1]
    whole = sizes(model)
    for number in range(settings.prune_rounds):
        stage = f"{name}-cut{number + 1}" if number + 1 < settings.prune_rounds else name
        progress.report(STEP, "measuring the importance of heads and neurons")
        lessons = map(school.epoch(0).lesson, _parts(school.texts, settings))
        found = importance(model, lessons, lambda lesson: distillation_loss(model, lesson, settings))
        left = sizes(model)
        shares = (heads[number] * whole[0] / left[0], neurons[number] * whole[1] / left[1])
        cut(model, found, *shares)
        if epochs[number]:
            distil(model, school, settings, epochs[number], _reporter(stage), stages, stage)
    return model


def _staged(
    name: str,
    skeleton: PreTrainedModel,
    make: Callable[[], PreTrainedModel],
    stages: SearchState,
    started: float,
) -> Candidate:
    """The model of a stage: of an earlier run if that finished it, else made now."""
    if finished := stages.finished(name):
        model = copy.deepcopy(skeleton)
        take_weights(model, finished["weights"])
        return Candidate(name, model, finished["seconds"])
    model = make()
    seconds = time.monotonic() - started
    stages.finish(name, model, seconds)
    return Candidate(name, model, seconds)


def _school(
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    kept: Sequence[int],
    texts: EncodedTexts,
    settings: CompressSettings,
    stages: SearchState,
) -> School:
    """Answers from a file when the texts return, live ones when new texts are made or relations are asked for."""
    if not settings.augmentation and not settings.relation_weight:
        return Lessons(teacher, kept, texts, stages.folder)
    augmenter = Augmenter(texts, tokenizer, teacher, settings.seed) if settings.augmentation else None
    made = round(settings.augmentation * len(texts))
    return LiveSchool(teacher, kept, texts, augmenter, made, settings.relation_weight > 0)


def _some_states(
    teacher: PreTrainedModel, kept: Sequence[int], texts: EncodedTexts, settings: CompressSettings
) -> torch.Tensor:
    """The teacher's hidden states of a sample of the training texts, (tokens, layers, dimensions)."""
    teaching = LiveTeaching(teacher, kept, texts)
    return torch.cat([teaching.lesson(part).states for part in _parts(texts, settings)])


def _parts(texts: EncodedTexts, settings: CompressSettings) -> list[Indices]:
    """Batches of a sample of the training texts."""
    order = np.random.default_rng(settings.seed).permutation(len(texts))[: settings.importance_texts]
    return np.array_split(order, -(-len(order) // settings.batch_size))


def _reporter(name: str) -> Report:
    def report(update: int, updates: int, loss: float) -> None:
        if update % REPORT_EVERY == 0 or update == updates:
            progress.report(STEP, f"{name}: loss {loss:.3f}", update, updates)

    return report
