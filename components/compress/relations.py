"""Attention relations: products of all pairs of tokens in the last layer, which do not depend on the layer's width.

In MiniLM (Wang et al. 2020) the student imitates the attention of the teacher's last layer and the relations of its
values. MiniLMv2 (Wang et al. 2021) uses the relations of queries, of keys and of values instead, split into any number
of relation heads. So teacher and student may differ in heads and width.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import gcd, sqrt

import torch
from transformers import PreTrainedModel

from slipway.components.compress.architecture import layers

PARTS = ("query", "key", "value")


@contextmanager
def recorded(model: PreTrainedModel) -> Iterator[list[torch.Tensor]]:
    """Record queries, keys and values of the last layer: within the block each forward pass fills the list with them.

    Each is float32 (texts, tokens, width).
    """
    outputs: list[torch.Tensor] = []
    last = layers(model)[-1]

    def record(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if len(outputs) == len(PARTS):
            outputs.clear()
        outputs.append(output)

    hooks = [getattr(last, part).register_forward_hook(record) for part in PARTS]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def distance(
    teacher: list[torch.Tensor], student: list[torch.Tensor], mask: torch.Tensor, most_heads: int
) -> torch.Tensor:
    """Kullback-Leibler divergence of the student's relations from the teacher's, averaged over parts, heads and tokens.

    Args:
        teacher: queries, keys and values, each (texts, tokens, width).
        student: the same of the student, with any width.
        mask: 1 for tokens, 0 for padding; (texts, tokens).
        most_heads: largest number of relation heads. The greatest number that divides both widths is used.
    """
    shared = gcd(teacher[0].shape[-1], student[0].shape[-1])
    heads = max(count for count in range(1, most_heads + 1) if shared % count == 0)
    total = torch.zeros(())
    for teacher_part, student_part in zip(teacher, student, strict=True):
        teacher_relation, student_relation = (
            _relation(vectors, mask, heads) for vectors in (teacher_part, student_part)
        )
        divergence = (
            (teacher_relation.exp() * (teacher_relation - student_relation))
            .masked_fill(mask[:, None, None, :] == 0, 0.0)
            .sum(dim=-1)
        )
        total = total + (divergence * mask[:, None, :]).sum() / (mask.sum() * heads)
    return total / len(PARTS)


def _relation(vectors: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
    """The logarithm of the softmax of scaled products of all pairs of tokens, (texts, heads, tokens, tokens)."""
    texts, tokens, width = vectors.shape
    split = vectors.float().view(texts, tokens, heads, width // heads).transpose(1, 2)
    products = split @ split.transpose(-1, -2) / sqrt(width // heads)
    return products.masked_fill(mask[:, None, None, :] == 0, -1e4).log_softmax(dim=-1)
