"""Attention relations: how the tokens of a text relate to each other in the last layer, whatever its width.

MiniLM (Wang et al. 2020) has the student imitate the attention of the teacher's last layer and the relation of its
values; MiniLMv2 (Wang et al. 2021) takes the relations of queries, of keys and of values, split into as many relation
heads as one likes, so that teacher and student may differ in heads and width.
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
    """Within the block, each forward pass fills the list with queries, keys and values of the last layer.

    Each is float32 (texts, tokens, width).
    """
    found: list[torch.Tensor] = []
    last = layers(model)[-1]

    def note(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        if len(found) == len(PARTS):
            found.clear()
        found.append(output)

    hooks = [getattr(last, part).register_forward_hook(note) for part in PARTS]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def distance(
    teacher: list[torch.Tensor], student: list[torch.Tensor], mask: torch.Tensor, most_heads: int
) -> torch.Tensor:
    """Kullback-Leibler divergence of the student's relations from the teacher's, mean over parts, heads and tokens.

    Args:
        teacher: queries, keys and values, each (texts, tokens, width).
        student: the same of the student, of any width.
        mask: 1 for tokens, 0 for padding; (texts, tokens).
        most_heads: relation heads at most; taken is the greatest number that divides both widths.
    """
    shared = gcd(teacher[0].shape[-1], student[0].shape[-1])
    heads = max(count for count in range(1, most_heads + 1) if shared % count == 0)
    total = torch.zeros(())
    for of_teacher, of_student in zip(teacher, student, strict=True):
        wanted, given = (_relation(vectors, mask, heads) for vectors in (of_teacher, of_student))
        apart = (wanted.exp() * (wanted - given)).masked_fill(mask[:, None, None, :] == 0, 0.0).sum(dim=-1)
        total = total + (apart * mask[:, None, :]).sum() / (mask.sum() * heads)
    return total / len(PARTS)


def _relation(vectors: torch.Tensor, mask: torch.Tensor, heads: int) -> torch.Tensor:
    """Logarithm of the softmax of scaled products of all pairs of tokens, (texts, heads, tokens, tokens)."""
    texts, tokens, width = vectors.shape
    split = vectors.float().view(texts, tokens, heads, width // heads).transpose(1, 2)
    products = split @ split.transpose(-1, -2) / sqrt(width // heads)
    return products.masked_fill(mask[:, None, None, :] == 0, -1e4).log_softmax(dim=-1)
