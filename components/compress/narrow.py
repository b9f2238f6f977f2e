"""Make students of smaller width: they have some dimensions of the teacher's hidden states only."""

import torch
from torch import nn
from transformers import PreTrainedModel

from slipway.components.compress.architecture import layers
from slipway.components.compress.prune import keep_columns, keep_rows
from slipway.components.compress.search_state import embedding_sizes


def kept_dimensions(dimensions: int, share: float) -> int:
    """The number of dimensions that a share leaves: all, or else the nearest multiple of 8, for int8 kernels."""
    return dimensions if share == 1 else min(dimensions, max(8, 8 * round(share * dimensions / 8)))


def most_varied(states: torch.Tensor, share: float) -> torch.Tensor:
    """Choose the dimensions of the hidden states with the greatest variance over the tokens.

    Args:
        states: of the teacher, float32 (tokens, layers, dimensions).
        share: part of the dimensions that is kept; see `kept_dimensions`.

    Returns:
        Indices in ascending order, int64.
    """
    count = kept_dimensions(states.shape[-1], share)
    spread = states.var(dim=0)
    return (spread / spread.sum(dim=1, keepdim=True)).sum(dim=0).topk(count).indices.sort().values


def narrow(model: PreTrainedModel, kept: torch.Tensor) -> None:
    """Keep only these dimensions of the hidden states, in place, in all modules that read or write them.

    The numbers of attention heads and neurons do not change.
    """
    hidden, done = int(model.config.hidden_size), set()
    for layer in layers(model):
        for reader in (layer.query, layer.key, layer.value, layer.expansion):
            keep_columns(reader, kept)
        for writer in (layer.attention_output, layer.contraction):
            keep_rows(writer, kept)
        done |= {id(linear) for linear in layer}
    for module in model.modules():
        if isinstance(module, nn.Linear) and id(module) not in done:
            if module.in_features == hidden:
                keep_columns(module, kept)
            if module.out_features == hidden:
                keep_rows(module, kept)
        elif isinstance(module, nn.LayerNorm) and module.normalized_shape == (hidden,):
            module.weight, module.bias = (nn.Parameter(vector.detach()[kept].clone()) for vector in module.parameters())
            module.normalized_shape = (len(kept),)
        elif isinstance(module, nn.Embedding) and module.embedding_dim == hidden:
            module.weight = nn.Parameter(module.weight.detach()[:, kept].clone())
            embedding_sizes(module)
    model.config.hidden_size = len(kept)
