"""Gradients of single texts for private training, by the hooks of Opacus, which are checked on each encoder.

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
"""Allowed error of a text's gradient, as a share of its norm. Sums in single precision depend on their order."""
GRADIENTS = "grad_sample"
"""The attribute of a parameter in which Opacus puts the gradients of single texts."""
SHORT, LONG = 5, 8
"""Lengths in tokens of the two texts of the check."""


def hook_up(model: PreTrainedModel, encoder: str) -> None:
    """Make each backward pass in training mode set `grad_sample`, shape (texts, …), of every trainable parameter.

    The gradients are compared with those of single texts without the hooks.

    Args:
        model: gets the hooks.
        encoder: its name, for the message.

    Raises:
        BadInput: the encoder has layers for which the hooks fail, or give wrong gradients.
    """
    # PyTorch warns of embeddings, whose inputs have no gradients.
    warnings.filterwarnings("ignore", message="Full backward hook is firing")
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
    """Make an embedding that is looked up once for a whole batch, such as positions, be looked up once for each text.

    Otherwise Opacus would get one gradient for the batch, and not one for each text.
    """
    texts = 1

    def note_batch_size(_: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        nonlocal texts
        texts = len(keywords["input_ids"] if "input_ids" in keywords else arguments[0])

    def expand_ids(module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
        ids = arguments[0]
        if not module.training or len(ids) != 1 or texts == 1:
            return None
        return (ids.expand(texts, *ids.shape[1:]), *arguments[1:])

    model.register_forward_pre_hook(note_batch_size, with_kwargs=True)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.register_forward_pre_hook(expand_ids)


def _trial(model: PreTrainedModel) -> Tensors:
    """A batch with two random texts of different lengths, so that one of them is padded."""
    generator, padding = np.random.default_rng(0), int(model.config.pad_token_id or 0)
    tokens = [token for token in range(min(int(model.config.vocab_size), 1000)) if token != padding]
    ids = [generator.choice(tokens, size).tolist() for size in (LONG, SHORT)]
    return EncodedTexts.of_ids(ids, np.array([0, 1]), padding).batch(np.array([0, 1]))


def _alone(model: PreTrainedModel, batch: Tensors, row: int) -> list[torch.Tensor]:
    """The gradient of one text alone, for each trainable parameter; without hooks and dropout."""
    model.train(False)
    inputs = {name: value[row : row + 1] for name, value in batch.inputs.items()}
    loss = cross_entropy(model(**inputs).logits, batch.labels[row : row + 1])
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def _backward(model: PreTrainedModel, batch: Tensors) -> None:
    """Make a backward pass with hooks but without dropout: only layers that have parameters are in training mode."""
    model.train(False)
    for module in model.modules():
        module.training = next(module.parameters(recurse=False), None) is not None
    torch.autograd.backward(cross_entropy(model(**batch.inputs).logits, batch.labels, reduction="sum"))
    model.train(False)


def _compare(model: PreTrainedModel, row: int, expected: list[torch.Tensor]) -> None:
    """Check that a text's gradients in a batch equal those of the text alone; raises ValueError when they do not."""
    norm = torch.stack([gradient.norm() for gradient in expected]).norm()
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for (name, parameter), gradient in zip(trainable, expected, strict=True):
        sample = getattr(parameter, GRADIENTS, None)
        if (
            sample is None
            or sample.shape != (2, *parameter.shape)
            or (sample[row] - gradient).norm() > TOLERANCE * norm
        ):
            raise ValueError(f"that of {name} is missing or wrong")
