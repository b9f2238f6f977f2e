"""Structured pruning: remove the least important attention heads and feed-forward neurons from the matrices."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from slipway.components.compress.architecture import head_size, layers
from slipway.components.compress.teacher_outputs import TeacherBatch


class Importance(NamedTuple):
    """The importance of the heads and neurons of one layer: float32 (heads,) and float32 (neurons,), all >= 0."""

    heads: torch.Tensor
    neurons: torch.Tensor


def importance(
    model: PreTrainedModel, teacher_batches: Iterable[TeacherBatch], loss: Callable[[TeacherBatch], torch.Tensor]
) -> list[Importance]:
    """Measure how much each head and neuron contributes to the loss, to first order.

    The importance is |dL/dm| of a mask m that multiplies the output of the head or neuron, summed over batches (Michel
    et al. 2019, Are sixteen heads really better than one?; Molchanov et al. 2017 for neurons). The output enters the
    next matrix W linearly, so dL/dm is the sum of W * dL/dW over the columns of that head or neuron.

    Args:
        model: to be pruned later; its gradients are cleared.
        teacher_batches: batches of texts with the teacher's outputs.
        loss: of one batch.

    Returns:
        The importance of each layer.
    """
    size = head_size(model)
    totals: list[Importance] | None = None
    for teacher_batch in teacher_batches:
        model.zero_grad()
        torch.autograd.backward(loss(teacher_batch))
        contributions = [
            Importance(
                _column_contributions(layer.attention_output).view(-1, size).sum(dim=1).abs(),
                _column_contributions(layer.contraction).abs(),
            )
            for layer in layers(model)
        ]
        totals = (
            contributions
            if totals is None
            else [Importance(*map(torch.add, *pair)) for pair in zip(totals, contributions, strict=True)]
        )
    model.zero_grad()
    return totals or []


def schedule(kept: float, rounds: int) -> list[float]:
    """The share that is kept after each round; after the last one it is `kept`.

    By the cubic schedule of Zhu & Gupta (2017, To prune, or not to prune) the first rounds remove the most.
    """
    return [kept + (1 - kept) * (1 - number / rounds) ** 3 for number in range(1, rounds + 1)]


def sizes(model: PreTrainedModel) -> tuple[int, int]:
    """The numbers of heads and neurons of each layer."""
    first = layers(model)[0]
    return first.query.out_features // head_size(model), first.expansion.out_features


def cut(model: PreTrainedModel, importances: list[Importance], heads_kept: float, neurons_kept: float) -> None:
    """Keep only these shares of heads and neurons, the most important ones, in place. The matrices become smaller.

    Every layer keeps the same number of heads, so that the exported attention can be fused.
    """
    size = head_size(model)
    for layer, important in zip(layers(model), importances, strict=True):
        heads = _most_important(important.heads, heads_kept)
        dimensions = (heads[:, None] * size + torch.arange(size)).flatten()
        for linear in (layer.query, layer.key, layer.value):
            keep_rows(linear, dimensions)
        keep_columns(layer.attention_output, dimensions)
        neurons = _most_important(important.neurons, neurons_kept)
        keep_rows(layer.expansion, neurons)
        keep_columns(layer.contraction, neurons)


def _column_contributions(linear: nn.Linear) -> torch.Tensor:
    """Sum of weight times gradient over each column, shape (inputs,)."""
    if linear.weight.grad is None:
        raise ValueError("the weights have no gradient")
    return (linear.weight.detach() * linear.weight.grad).sum(dim=0)


def kept_count(count: int, share: float) -> int:
    """The number of heads or neurons that a share of `count` leaves: at least one."""
    return max(1, round(count * share))


def _most_important(values: torch.Tensor, share: float) -> torch.Tensor:
    return values.topk(kept_count(len(values), share)).indices.sort().values


def keep_rows(linear: nn.Linear, rows: torch.Tensor) -> None:
    """Keep only these outputs of a linear map, in place."""
    linear.weight = nn.Parameter(linear.weight.detach()[rows].clone())
    linear.bias = nn.Parameter(linear.bias.detach()[rows].clone())
    linear.out_features = len(rows)


def keep_columns(linear: nn.Linear, columns: torch.Tensor) -> None:
    """Keep only these inputs of a linear map, in place."""
    linear.weight = nn.Parameter(linear.weight.detach()[:, columns].clone())
    linear.in_features = len(columns)
