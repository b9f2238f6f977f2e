"""Knowledge distillation: a student made from the teacher's own layers learns to give the teacher's answers."""

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax, softmax
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from slipway.components.compress import relations
from slipway.components.compress.architecture import replace_stack, stack
from slipway.components.compress.augment import UNLABELLED
from slipway.components.compress.search_state import SearchState
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import Lesson, School
from slipway.components.learning.batches import epoch_steps, steps_per_epoch
from slipway.components.learning.optimisation import schedule_factor

WARMUP_SHARE = 0.1
MAX_GRADIENT_NORM = 1.0
RELATION_HEADS = 12
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


def distil(
    student: PreTrainedModel,
    school: School,
    settings: CompressSettings,
    epochs: int,
    report: Report,
    stages: SearchState | None = None,
    name: str = "",
) -> None:
    """Train the student in place on the teacher's soft labels, hidden states and, if asked for, relations.

    There is no dropout: teacher and student see the same function of the same text (Beyer et al. 2022, Knowledge
    distillation: a good teacher is patient and consistent). The embeddings are the teacher's and stay so. So the
    result depends on nothing but the arguments, also when the training was interrupted.

    Args:
        student: starts from the teacher's weights; it has as many layers as the lessons have hidden states.
        school: the texts with the teacher's answers.
        settings: temperature, weights of the losses, batch size, learning rate and seed.
        epochs: passes over the texts.
        report: called after each update.
        stages: keeps the position after each epoch, and ends the training when the budget is spent.
        name: of the stage.
    """
    student.requires_grad_(True)
    student.get_input_embeddings().requires_grad_(False)
    student.train(False)
    total = epochs * steps_per_epoch(school.size, settings.batch_size, 1)
    optimizer, scheduler = _optimizer(student, settings, total)
    number, begun = 0, 0
    if stages and (position := stages.position(name)):
        student.load_state_dict(position["model"])
        optimizer.load_state_dict(position["optimizer"])
        scheduler.load_state_dict(position["scheduler"])
        begun, number = position["epochs"], position["updates"]
    for epoch in range(begun, epochs):
        teaching = school.epoch(epoch)
        for shards in epoch_steps(teaching.texts.lengths, settings.batch_size, 1, settings.seed, epoch):
            if stages and stages.out_of_time:
                stages.unfinished.append(name)
                return
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
                loss = distillation_loss(student, teaching.lesson(shards[0]), settings)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(student.parameters(), MAX_GRADIENT_NORM)
            optimizer.step()
            scheduler.step()
            number += 1
            report(number, total, float(loss.detach()))
        if stages:
            state: dict[str, Any] = {"model": student.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"scheduler": scheduler.state_dict(), "epochs": epoch + 1, "updates": number}
            stages.keep_position(name, state)


def distillation_loss(student: PreTrainedModel, lesson: Lesson, settings: CompressSettings) -> torch.Tensor:
    """The loss of one batch, a scalar.

    Soft labels: T^2 KL(teacher || student) of the distributions at temperature T (Hinton et al. 2015). Hard
    labels: cross-entropy of the labelled texts, weighted by `hard_label_share`. Hidden states: 1 - cosine similarity,
    averaged over tokens and layers (Sanh et al. 2019), weighted by `hidden_weight`; a narrower student is compared in
    the dimensions that it has. Relations: see `relations.distance`, weighted by `relation_weight`.
    """
    batch, temperature, share = lesson.batch, settings.temperature, settings.hard_label_share
    with relations.recorded(student) if lesson.relations else nullcontext(list[torch.Tensor]()) as found:
        given = student(**batch.inputs, output_hidden_states=True)
    logits = given.logits.float()
    soft = kl_div(
        log_softmax(logits / temperature, dim=-1),
        softmax(lesson.logits / temperature, dim=-1),
        reduction="batchmean",
    )
    hard = cross_entropy(logits, batch.labels, ignore_index=UNLABELLED, reduction="sum") / len(batch.labels)
    mask = batch.inputs["attention_mask"]
    states = torch.stack([layer[mask.bool()].float() for layer in given.hidden_states[1:]], dim=1)
    apart = 1 - cosine_similarity(states, lesson.states, dim=-1).mean()
    loss: torch.Tensor = (1 - share) * temperature**2 * soft + share * hard + settings.hidden_weight * apart
    if lesson.relations:
        loss = loss + settings.relation_weight * relations.distance(lesson.relations, found, mask, RELATION_HEADS)
    return loss


def _optimizer(student: PreTrainedModel, settings: CompressSettings, total: int) -> tuple[torch.optim.AdamW, LambdaLR]:
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0, fused=True)
    warmup = int(np.ceil(WARMUP_SHARE * total))
    return optimizer, LambdaLR(optimizer, lambda update: schedule_factor(update, warmup, total))
