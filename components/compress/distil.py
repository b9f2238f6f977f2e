"""Knowledge distillation: a student that is made of the teacher's layers is trained on the teacher's outputs."""

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
from slipway.components.compress.outlook import Look
from slipway.components.compress.search_state import SearchState
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import TeacherBatch, TeacherOutputs
from slipway.components.learning.batches import epoch_steps, steps_per_epoch
from slipway.components.learning.optimisation import schedule_factor

WARMUP_SHARE = 0.1
MAX_GRADIENT_NORM = 1.0
LOOKS = 2
"""Looks in each epoch at whether the student can still pass. One costs a pass over the validation texts."""
RELATION_HEADS = 12
"""Most heads into which relations are split; see `relations.distance`."""
Report = Callable[[int, int, float], None]
"""Called after an update with its number, the number of all updates and the loss."""


def student_layers(teacher_layers: int, share: float) -> list[int]:
    """Choose the teacher's layers that the student gets: evenly spread, with the last one.

    A layer of the student replaces the teacher's layers after the previous one, up to this one (the uniform mapping of
    Jiao et al. 2020, TinyBERT).

    Args:
        teacher_layers: number of the teacher's layers.
        share: part of them that the student has.

    Returns:
        Indices of the layers, from 0.
    """
    count = max(1, round(teacher_layers * share))
    return [(number * teacher_layers) // count - 1 for number in range(1, count + 1)]


def new_student(teacher: PreTrainedModel, kept: Sequence[int]) -> PreTrainedModel:
    """A copy of the teacher with some of its layers only (Sanh et al. 2019, DistilBERT)."""
    student = copy.deepcopy(teacher)
    replace_stack(student, nn.ModuleList(stack(student)[index] for index in kept))
    return student


def distil(
    student: PreTrainedModel,
    outputs: TeacherOutputs,
    settings: CompressSettings,
    epochs: int,
    report: Report,
    search: SearchState | None = None,
    name: str = "",
    look: Look | None = None,
) -> None:
    """Train the student in place on the teacher's soft labels, hidden states and, if there are such, relations.

    There is no dropout, so that teacher and student get exactly the same input (Beyer et al. 2022, Knowledge
    distillation: a good teacher is patient and consistent). The embeddings are the teacher's, and are not trained. So
    the result depends on the arguments only, also when the training was interrupted.

    Args:
        student: has the teacher's weights; it has as many layers as there are hidden states in the outputs.
        outputs: the texts with the teacher's outputs.
        settings: temperature, weights of the losses, batch size, learning rate and seed.
        epochs: passes over the texts.
        report: called after each update.
        search: stores the position after each epoch, and ends the training when the budget is spent.
        name: of the model in the search.
        look: decides before, and after each `1 / LOOKS` of an epoch, whether to stop; None to train to the end.
    """
    student.requires_grad_(True)
    student.get_input_embeddings().requires_grad_(False)
    student.train(False)
    total = epochs * steps_per_epoch(outputs.size, settings.batch_size, 1)
    optimizer, scheduler = _optimizer(student, settings, total)
    updates, first_epoch = 0, 0
    if search and (position := search.position(name)):
        student.load_state_dict(position["model"])
        optimizer.load_state_dict(position["optimizer"])
        scheduler.load_state_dict(position["scheduler"])
        first_epoch, updates = position["epochs"], position["updates"]
    per_look = max(1, total // (LOOKS * max(epochs, 1)))
    if look and look(student, updates / max(total, 1)):
        return
    for epoch in range(first_epoch, epochs):
        epoch_outputs = outputs.epoch(epoch)
        for shards in epoch_steps(epoch_outputs.texts.lengths, settings.batch_size, 1, settings.seed, epoch):
            if search and search.out_of_time:
                search.unfinished.append(name)
                return
            with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
                loss = distillation_loss(student, epoch_outputs.batch_of(shards[0]), settings)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(student.parameters(), MAX_GRADIENT_NORM)
            optimizer.step()
            scheduler.step()
            updates += 1
            report(updates, total, float(loss.detach()))
            if look and (updates % per_look == 0 or updates == total) and look(student, updates / total):
                return
        if search:
            state: dict[str, Any] = {"model": student.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"scheduler": scheduler.state_dict(), "epochs": epoch + 1, "updates": updates}
            search.keep_position(name, state)


def distillation_loss(
    student: PreTrainedModel, teacher_batch: TeacherBatch, settings: CompressSettings
) -> torch.Tensor:
    """The loss of one batch, a scalar: a weighted sum of four losses.

    - Soft labels: T^2 KL(teacher || student) of the distributions at temperature T (Hinton et al. 2015).
    - Hard labels: cross-entropy of the labelled texts, with the weight `hard_label_share`.
    - Hidden states: 1 - cosine similarity, averaged over tokens and layers (Sanh et al. 2019), with the weight
      `hidden_weight`. A narrower student is compared in the dimensions that it has.
    - Relations: see `relations.distance`, with the weight `relation_weight`.
    """
    batch, temperature, share = teacher_batch.batch, settings.temperature, settings.hard_label_share
    with (
        relations.recorded(student)
        if teacher_batch.relations
        else nullcontext(list[torch.Tensor]()) as student_relations
    ):
        student_outputs = student(**batch.inputs, output_hidden_states=True)
    logits = student_outputs.logits.float()
    soft = kl_div(
        log_softmax(logits / temperature, dim=-1),
        softmax(teacher_batch.logits / temperature, dim=-1),
        reduction="batchmean",
    )
    hard = cross_entropy(logits, batch.labels, ignore_index=UNLABELLED, reduction="sum") / len(batch.labels)
    mask = batch.inputs["attention_mask"]
    states = torch.stack([layer[mask.bool()].float() for layer in student_outputs.hidden_states[1:]], dim=1)
    state_distance = 1 - cosine_similarity(states, teacher_batch.states, dim=-1).mean()
    loss: torch.Tensor = (1 - share) * temperature**2 * soft + share * hard + settings.hidden_weight * state_distance
    if teacher_batch.relations:
        loss = loss + settings.relation_weight * relations.distance(
            teacher_batch.relations, student_relations, mask, RELATION_HEADS
        )
    return loss


def _optimizer(student: PreTrainedModel, settings: CompressSettings, total: int) -> tuple[torch.optim.AdamW, LambdaLR]:
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.0, fused=True)
    warmup = int(np.ceil(WARMUP_SHARE * total))
    return optimizer, LambdaLR(optimizer, lambda update: schedule_factor(update, warmup, total))
