"""Knowledge distillation: a student made from the teacher's own layers learns to give the teacher's answers."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax, softmax
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from components.compress.architecture import replace_stack, stack
from components.compress.lessons import Lesson, Lessons
from components.compress.settings import CompressSettings
from components.train.batches import epoch_steps
from components.train.optimisation import schedule_factor

WARMUP_SHARE = 0.1
MAX_GRADIENT_NORM = 1.0
Report = Callable[[int, int, float], None]
"""Called after an update with its number, the number of all updates and the loss."""


def student_layers(teacher_layers: int, share: float) -> list[int]:
    """Which of the teacher's layers become the student's: evenly spread, the last one among them.

    The student's layer takes the place of those between it and its predecessor (the uniform mapping of
    Jiao et al. 2020, TinyBERT).
    """
    count = max(1, round(teacher_layers * share))
    return [(number * teacher_layers) // count - 1 for number in range(1, count + 1)]


def new_student(teacher: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """A copy of the teacher with only some of its layers (Sanh et al. 2019, DistilBERT)."""
    student = copy.deepcopy(teacher)
    replace_stack(student, nn.ModuleList(stack(student)[index] for index in kept))
    return student


def distil(student: PreTrainedModel, lessons: Lessons, settings: CompressSettings, epochs: int, report: Report) -> None:
    """Train the student in place on the teacher's soft labels and hidden states.

    There is no dropout: teacher and student see the same function of the same text (Beyer et al. 2022, Knowledge
    distillation: a good teacher is patient and consistent). The embeddings are the teacher's and stay so.

    Args:
        student: starts from the teacher's weights; it has as many layers as the lessons have hidden states.
        lessons: the training texts with the teacher's answers.
        settings: temperature, weights of the losses, batch size, learning rate and seed.
        epochs: passes over the texts.
        report: called after each update.
    """
    student.requires_grad_(True)
    student.get_input_embeddings().requires_grad_(False)
    student.train(False)
    lengths, seed = lessons.texts.lengths, settings.seed
    steps = [step for epoch in range(epochs) for step in epoch_steps(lengths, settings.batch_size, 1, seed, epoch)]
    optimizer, scheduler = _optimizer(student, settings, len(steps))
    for number, shards in enumerate(steps, 1):
        loss = distillation_loss(student, lessons.lesson(shards[0]), settings)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(student.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        scheduler.step()
        report(number, len(steps), float(loss.detach()))


def distillation_loss(student: PreTrainedModel, lesson: Lesson, settings: CompressSettings) -> torch.Tensor:
    """The loss of one batch, a scalar.

    Soft labels: T^2 KL(teacher || student) of the distributions at temperature T (Hinton et al. 2015). Hard
    labels: cross-entropy, weighted by `hard_label_share`. Hidden states: 1 - cosine similarity, averaged over
    tokens and layers (Sanh et al. 2019), weighted by `hidden_weight`.
    """
    batch, temperature, share = lesson.batch, settings.temperature, settings.hard_label_share
    given = student(**batch.inputs, output_hidden_states=True)
    soft = kl_div(
        log_softmax(given.logits / temperature, dim=-1),
        softmax(lesson.logits / temperature, dim=-1),
        reduction="batchmean",
    )
    hard = cross_entropy(given.logits, batch.labels)
    tokens = batch.inputs["attention_mask"].bool()
    states = torch.stack([layer[tokens] for layer in given.hidden_states[1:]], dim=1)
    apart = 1 - cosine_similarity(states, lesson.states, dim=-1).mean()
    loss: torch.Tensor = (1 - share) * temperature**2 * soft + share * hard + settings.hidden_weight * apart
    return loss


def _optimizer(student: PreTrainedModel, settings: CompressSettings, total: int) -> tuple[torch.optim.AdamW, LambdaLR]:
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0)
    warmup = int(np.ceil(WARMUP_SHARE * total))
    return optimizer, LambdaLR(optimizer, lambda update: schedule_factor(update, warmup, total))
