"""Make the torch models of a search: the teacher, smaller students, and pruned models."""

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
from slipway.components.compress.outlook import Look, Outlook
from slipway.components.compress.plan import Student, plan
from slipway.components.compress.prune import cut, importance, schedule, sizes
from slipway.components.compress.search_state import SearchState, take_weights
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import (
    STEP,
    LiveEpoch,
    LiveOutputs,
    StoredOutputs,
    TeacherOutputs,
    stored_bytes,
)
from slipway.components.learning.batches import EncodedTexts, Indices
from slipway.components.step_runtime import progress

REPORT_EVERY = 10


@dataclass(frozen=True)
class Candidate:
    """A torch model, its name, such as `student-3x384`, and the seconds that it took to make."""

    name: str
    model: PreTrainedModel
    seconds: float


def candidates(
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: EncodedTexts,
    settings: CompressSettings,
    search: SearchState,
    validation: EncodedTexts | None = None,
) -> Iterator[Candidate]:
    """Yield the teacher, and then the students and pruned models. Each is made when the caller asks for it.

    A model that cannot pass is given up, and the pruned models of a student that does not pass are not made.

    Args:
        teacher: in evaluation mode; not changed.
        tokenizer: the teacher's.
        texts: the training texts.
        settings: which models are made, and how.
        search: the state of an earlier run; it ends the search when the budget is spent.
        validation: the validation texts, which show whether a model can pass; None makes all models.

    Raises:
        BadInput: the settings ask for a student or for pruning, but the teacher's architecture does not allow them.
    """
    students = plan(teacher, settings)
    yield Candidate(f"teacher-{teacher.config.num_hidden_layers}x{teacher.config.hidden_size}", teacher, 0.0)
    outputs: TeacherOutputs | None = None
    outlook = Outlook(teacher, validation, settings, search) if students and validation and settings.give_up else None
    for student in students:
        if outputs is not None and search.leaves_out(student.stages):
            continue
        if outlook and outlook.excludes(student.stages[0]):
            continue
        started = time.monotonic()
        if outputs is None:
            all_layers = sorted({layer for each in students for layer in each.layers})
            outputs = _teacher_outputs(teacher, tokenizer, all_layers, texts, settings, search)
        yield from _student_and_pruned(student, teacher, outputs, settings, search, started, outlook)


def _student_and_pruned(
    student: Student,
    teacher: PreTrainedModel,
    outputs: TeacherOutputs,
    settings: CompressSettings,
    search: SearchState,
    started: float,
    outlook: Outlook | None,
) -> Iterator[Candidate]:
    """Yield the student and its pruned models; for a `Student` without a name, the pruned models of the teacher."""
    model, dimensions = _untrained(student, teacher, outputs.texts, settings)
    outputs = outputs.for_student(student.layers, dimensions)
    if student.name:
        look = outlook.look(student.name) if outlook else None
        train = partial(_distilled, model, outputs, settings, search, student.name, look)
        candidate = _resumed_or_made(student.name, model, train, search, started)
        if student.name in search.given_up:
            return
        model = candidate.model
        yield candidate
    for pruning in student.prunings:
        if search.leaves_out([pruning.name]):
            continue
        look = outlook.look(pruning.name) if outlook else None
        prune = partial(pruned, model, outputs, pruning.settings, search, pruning.name, look)
        candidate = _resumed_or_made(pruning.name, model, prune, search, time.monotonic())
        if pruning.name not in search.given_up:
            yield candidate


def _untrained(
    student: Student, teacher: PreTrainedModel, texts: EncodedTexts, settings: CompressSettings
) -> tuple[PreTrainedModel, torch.Tensor | None]:
    """An untrained student (the teacher for a `Student` without a name), and the indices of its hidden dimensions; None
    for all dimensions.
    """
    if not student.name:
        return teacher, None
    model = new_student(teacher, student.layers)
    if student.width_kept == 1:
        return model, None
    dimensions = most_varied(_some_states(teacher, student.layers, texts, settings), student.width_kept)
    narrow(model, dimensions)
    return model, dimensions


def _distilled(
    model: PreTrainedModel,
    outputs: TeacherOutputs,
    settings: CompressSettings,
    search: SearchState,
    name: str,
    look: Look | None,
) -> PreTrainedModel:
    distil(model, outputs, settings, settings.distil_epochs, _reporter(name), search, name, look)
    return model


def pruned(
    model: PreTrainedModel,
    outputs: TeacherOutputs,
    settings: CompressSettings,
    search: SearchState | None = None,
    name: str = "",
    look: Look | None = None,
) -> PreTrainedModel:
    """Prune heads and neurons of a copy of `model`, and let it recover by distillation from the teacher.

    Heads and neurons are removed in `prune_rounds` cuts. The epochs of recovery are divided among them.

    Args:
        model: is not changed.
        outputs: the texts with the teacher's outputs.
        settings: shares that are kept, rounds and epochs.
        search: as for `distil`.
        name: of the pruned model.
        look: as for `distil`; it is asked in the recovery from the last cut only.
    """
    model = copy.deepcopy(model)
    heads, neurons = (schedule(kept, settings.prune_rounds) for kept in (settings.heads_kept, settings.neurons_kept))
    epochs = [len(part) for part in np.array_split(range(settings.recovery_epochs), settings.prune_rounds)][::-1]
    original_sizes = sizes(model)
    for number in range(settings.prune_rounds):
        stage = f"{name}-cut{number + 1}" if number + 1 < settings.prune_rounds else name
        progress.report(STEP, "measuring the importance of heads and neurons")
        teacher_batches = map(outputs.epoch(0).batch_of, _parts(outputs.texts, settings))
        importances = importance(
            model, teacher_batches, lambda teacher_batch: distillation_loss(model, teacher_batch, settings)
        )
        present_sizes = sizes(model)
        shares = (
            heads[number] * original_sizes[0] / present_sizes[0],
            neurons[number] * original_sizes[1] / present_sizes[1],
        )
        cut(model, importances, *shares)
        if epochs[number]:
            last = number + 1 == settings.prune_rounds
            distil(model, outputs, settings, epochs[number], _reporter(stage), search, stage, look if last else None)
    return model


def _resumed_or_made(
    name: str,
    skeleton: PreTrainedModel,
    make: Callable[[], PreTrainedModel],
    search: SearchState,
    started: float,
) -> Candidate:
    """The model of a stage: loaded if an earlier run finished it, otherwise made now.

    Args:
        name: of the stage.
        skeleton: a model of the same structure, whose shapes may differ.
        make: trains the model.
        search: has the finished models.
        started: when the work on the stage began, by `time.monotonic`.
    """
    if finished := search.finished(name):
        model = copy.deepcopy(skeleton)
        take_weights(model, finished["weights"])
        return Candidate(name, model, finished["seconds"])
    model = make()
    seconds = time.monotonic() - started
    search.finish(name, model, seconds)
    return Candidate(name, model, seconds)


def _teacher_outputs(
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    kept: Sequence[int],
    texts: EncodedTexts,
    settings: CompressSettings,
    search: SearchState,
) -> TeacherOutputs:
    """The teacher's outputs: from a file when all epochs have the same texts and the file is not too large.

    Otherwise they are computed for each batch: when the settings ask for new texts or for relations, or when the file
    would have more than `stored_outputs_gb`.
    """
    if not settings.augmentation and not settings.relation_weight:
        size = stored_bytes(teacher, kept, texts)
        if size <= settings.stored_outputs_gb * 1e9:
            return StoredOutputs(teacher, kept, texts, search.folder, lambda: search.out_of_time)
        progress.report(STEP, f"asking the teacher anew in each epoch, since its answers have {size / 1e9:.1f} GB")
    augmenter = Augmenter(texts, tokenizer, teacher, settings.seed) if settings.augmentation else None
    new_texts = round(settings.augmentation * len(texts))
    return LiveOutputs(teacher, kept, texts, augmenter, new_texts, settings.relation_weight > 0)


def _some_states(
    teacher: PreTrainedModel, kept: Sequence[int], texts: EncodedTexts, settings: CompressSettings
) -> torch.Tensor:
    """The teacher's hidden states of a sample of the training texts, (tokens, layers, dimensions)."""
    outputs = LiveEpoch(teacher, kept, texts)
    return torch.cat([outputs.batch_of(part).states for part in _parts(texts, settings)])


def _parts(texts: EncodedTexts, settings: CompressSettings) -> list[Indices]:
    """Batches of a sample of the training texts."""
    order = np.random.default_rng(settings.seed).permutation(len(texts))[: settings.importance_texts]
    return np.array_split(order, -(-len(order) // settings.batch_size))


def _reporter(name: str) -> Report:
    def report(update: int, updates: int, loss: float) -> None:
        if update % REPORT_EVERY == 0 or update == updates:
            progress.report(STEP, f"{name}: loss {loss:.3f}", update, updates)

    return report
