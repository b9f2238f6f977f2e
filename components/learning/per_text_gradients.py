"""Gradients of single texts, by the hooks of Opacus, tried out on every encoder before they are trusted.

Opacus: Yousefpour et al. 2021, *Opacus: user-friendly differential privacy library in PyTorch*.
"""

import warnings
from typing import Any

import numpy as np
import torch
from opacus.grad_sample.grad_sample_module import GradSampleHooks
from opacus.validators import ModuleValidator
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from slipway.components.errors import BadInput
from slipway.components.learning.batches import EncodedTexts, Tensors

TOLERANCE = 1e-3
"""Of a text's gradient, as a share of its norm: single precision, summed in another order."""
GRADIENTS = "grad_sample"
"""Where Opacus leaves the gradients of single texts in a parameter."""
SHORT, LONG = 5, 8
"""Tokens of the texts of the trial."""


def hook_up(model: PreTrainedModel, encoder: str) -> None:
    """Make each backward pass in training mode leave `grad_sample`, shape (texts, …), in every trainable parameter.

    Raises:
        BadInput: the encoder has layers for which that is not possible, or not right.
    """
    warnings.filterwarnings(
        "ignore", message="Full backward hook is firing"
    )  # embeddings have no inputs with gradients
    problems = ModuleValidator.validate(model.train())
    if problems:
        raise _unsuitable(encoder, problems[0])
    batch = _trial(model)
    expected = [_alone(model, batch, row) for row in range(2)]
    _look_up_for_each_text(model)
    try:
        GradSampleHooks(model, loss_reduction="sum")
        _backward(model, batch)
        for row, gradient in enumerate(expected):
            _compare(model, row, gradient)
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _unsuitable(encoder, error) from error
    for parameter in model.parameters():
        parameter.grad = None
        setattr(parameter, GRADIENTS, None)


def _unsuitable(encoder: str, error: Exception) -> BadInput:
    return BadInput(
        f"the encoder {encoder!r} cannot be trained privately: Opacus does not give the gradients of single texts "
        f"({error}); use a BERT, RoBERTa, DistilBERT, ELECTRA or ALBERT, or set train.privacy_epsilon to 0"
    )


def _look_up_for_each_text(model: PreTrainedModel) -> None:
    """Let an embedding that is looked up once for all texts of a batch, as positions are, be so for each of them."""
    texts = 1

    def note(_: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal texts
        texts = len(named["input_ids"] if "input_ids" in named else arguments[0])

    def widen(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        ids = arguments[0]
        if not module.training or len(ids) != 1 or texts == 1:
            return None
        return (ids.expand(texts, *ids.shape[1:]), *arguments[1:])

    model.register_forward_pre_hook(note, with_kwargs=True)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_pre_hook(widen)


def _trial(model: PreTrainedModel) -> Tensors:
    """Two texts of different lengths, in one batch."""
    chance, padding = np.random.default_rng(0), int(model.config.pad_token_id or 0)
    known = [token for token in range(min(int(model.config.vocab_size), 1000)) if token != padding]
    ids = [chance.choice(known, size).tolist() for size in (LONG, SHORT)]
    return EncodedTexts.of_ids(ids, np.array([0, 1]), padding).batch(np.array([0, 1]))


def _alone(model: PreTrainedModel, batch: Tensors, row: int) -> list[torch.Tensor]:
    """The gradient of one text of a batch by itself, for each trainable parameter; without dropout."""
    model.train(False)
    inputs = {name: value[row : row + 1] for name, value in batch.inputs.items()}
    loss = cross_entropy(model(**inputs).logits, batch.labels[row : row + 1])
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def _backward(model: PreTrainedModel, batch: Tensors) -> None:
    """A backward pass without dropout, for which the layers that have parameters count as in training."""
    model.train(False)
    for module in model.modules():
        module.training = next(module.parameters(recurse=False), None) is not None
    torch.autograd.backward(cross_entropy(model(**batch.inputs).logits, batch.labels, reduction="sum"))
    model.train(False)


def _compare(model: PreTrainedModel, row: int, expected: list[torch.Tensor]) -> None:
    """See that a text's gradients in a batch are those of the text alone; ValueError when they are not."""
    norm = torch.stack([gradient.norm() for gradient in expected]).norm()
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for (name, parameter), gradient in zip(named, expected, strict=True):
        found = getattr(parameter, GRADIENTS, None)
        if found is None or found.shape != (2, *parameter.shape) or (found[row] - gradient).norm() > TOLERANCE * norm:
            raise ValueError(f"that of {name} is missing or wrong")
