"""Structured pruning: the attention heads and feed-forward neurons that matter least are cut out of the matrices."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

from slipway.components.compress.architecture import head_size, layers
from slipway.components.compress.teacher_outputs import Lesson


class Importance(NamedTuple):
    """Of one layer: float32 (heads,) and float32 (neurons,), all >= 0."""

    heads: torch.Tensor
    neurons: torch.Tensor


def importance(
    model: PreTrainedModel, lessons: Iterable[Lesson], loss: Callable[[Lesson], torch.Tensor]
) -> list[Importance]:
    """What a head or neuron contributes to the loss, for each layer, to first order.

    It is |dL/dm| of a mask m that multiplies the output of the head or neuron, summed over batches (Michel et al.
    2019, Are sixteen heads really better than one?; Molchanov et al. 2017 for neurons). As the output enters the
    next matrix W linearly, dL/dm is the sum of W * dL/dW over the columns of that head or neuron.
    """
    size = head_size(model)
    totals: list[Importance] | None = None
    for lesson in lessons:
        model.zero_grad()
        torch.autograd.backward(loss(lesson))
        found = [
            Importance(
                _column_contributions(layer.attention_output).view(-1, size).sum(dim=1).abs(),
                _column_contributions(layer.contraction).abs(),
            )
            for layer in layers(model)
        ]
        totals = (
            found
            if totals is None
            else [Importance(*map(torch.add, *pair)) for pair in zip(totals, found, strict=True)]
        )
    model.zero_grad()
    return totals or []


def schedule(kept: float, rounds: int) -> list[float]:
    """What is kept after each of the rounds, the last as asked for: much goes at first, little at the end.

    The cubic schedule of Zhu & Gupta (2017, To prune, or not to prune).
    """
    return [kept + (1 - kept) * (1 - number / rounds) ** 3 for number in range(1, rounds + 1)]


def sizes(model: PreTrainedModel) -> tuple[int, int]:
    """Heads and neurons of each layer."""
    first = layers(model)[0]
    return first.query.out_features // head_size(model), first.expansion.out_features


def cut(model: PreTrainedModel, found: list[Importance], heads_kept: float, neurons_kept: float) -> None:
    """Leave only these shares of the most important heads and neurons, in place; the matrices become smaller.

    Every layer keeps the same number, so that the exported attention can be fused.
    """
    size = head_size(model)
    for layer, important in zip(layers(model), found, strict=True):
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
    """How many of `count` heads or neurons a share leaves: one at least."""
    return max(1, round(count * share))


def _most_important(values: torch.Tensor, share: float) -> torch.Tensor:
    return values.topk(kept_count(len(values), share)).indices.sort().values


def keep_rows(linear: nn.Linear, rows: torch.Tensor) -> None:
    """Leave only these outputs of a linear map, in place."""
    linear.weight = nn.Parameter(linear.weight.detach()[rows].clone())
    linear.bias = nn.Parameter(linear.bias.detach()[rows].clone())
    linear.out_features = len(rows)


def keep_columns(linear: nn.Linear, columns: torch.Tensor) -> None:
    """Leave only these inputs of a linear map, in place."""
    linear.weight = nn.Parameter(linear.weight.detach()[:, columns].clone())
    linear.in_features = len(columns)
