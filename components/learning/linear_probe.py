"""The linear probe: logistic regression on the features that a classification head reads from the frozen encoder.

It is the baseline that a fine-tuned model has to beat, and the best start for its head: from a random head, the first
updates would distort the encoder's features before the head has learnt to read them (Kumar et al. 2022, Fine-tuning can
distort pretrained features and underperform out-of-distribution: linear probing, then fine-tuning, LP-FT).
"""

from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from slipway.components.learning.batches import EncodedTexts, Indices
from slipway.components.learning.evaluation import vectors_of_texts
from slipway.components.learning.open_settings import class_weights

INVERSE_PENALTY = 10.0
"""Inverse strength of the L2 penalty, as `C` of scikit-learn, for features of norm 1. On the shipped messages 3 gives
the same scores within half a point, and 30 costs 1 to 3 points.
"""
STEPS = 200
"""Most iterations of L-BFGS."""


class Probe(NamedTuple):
    """A linear classifier: weights, float32 (classes, dimensions), and biases, float32 (classes,)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def predicted(self, features: torch.Tensor) -> Indices:
        """The classes of texts with these features, shape (texts,)."""
        answers: Indices = (features @ self.weight.T + self.bias).argmax(dim=1).numpy()
        return answers

    def put_into(self, head: nn.Linear) -> None:
        """Make it the last layer of a classification head, in place."""
        with torch.no_grad():
            head.weight.copy_(self.weight)
            if head.bias is not None:
                head.bias.copy_(self.bias)


def last_layer(model: PreTrainedModel) -> nn.Linear | None:
    """The linear map whose outputs are the logits; None for a head of another kind."""
    inside = {id(module) for module in model.base_model.modules()}
    found = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module) not in inside and module.out_features == model.config.num_labels
    ]
    return found[-1] if found else None


def features(model: PreTrainedModel, head: nn.Linear, texts: EncodedTexts, accelerator: Accelerator) -> torch.Tensor:
    """What the last layer reads for each text, float32 (texts, dimensions), on every process.

    Each process computes a part of them. A decoder's last layer reads all tokens of a text; the last token counts.

    Args:
        model: not yet wrapped for data parallelism.
        head: its last layer.
        texts: of any split.
        accelerator: of the processes.
    """
    heard: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _module, inputs: heard.append(inputs[0].detach()))

    def read(_outputs: Any, indices: Indices) -> torch.Tensor:
        values = heard.pop()
        if values.ndim == 3:
            values = values[torch.arange(len(indices)), torch.from_numpy(texts.lengths[indices]) - 1]
        return values

    found = vectors_of_texts(model, texts, head.in_features, read, accelerator)
    hook.remove()
    return found.clone()


def fitted(
    values: torch.Tensor, label_ids: Indices, classes: int, weights: torch.Tensor | None = None, with_bias: bool = True
) -> Probe:
    """Fit a logistic regression by L-BFGS. The result depends on the arguments only.

    Args:
        values: features of the training texts, float32 (texts, dimensions).
        label_ids: their classes, shape (texts,).
        classes: number of classes.
        weights: of the classes, float32 (classes,); None for equal ones.
        with_bias: whether the classifier has biases; without, its features are not centred either.
    """
    centre = values.mean(dim=0) if with_bias else torch.zeros(values.shape[1])
    scale = (values - centre).norm(dim=1).mean().clamp_min(1e-12)
    inputs, truth = (values - centre) / scale, torch.from_numpy(label_ids)
    weight = torch.zeros((classes, values.shape[1]), requires_grad=True)
    bias = torch.zeros(classes, requires_grad=with_bias)
    optimizer = torch.optim.LBFGS(
        [weight, bias] if with_bias else [weight], max_iter=STEPS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(inputs @ weight.T + bias, truth, weight=weights, reduction="sum") / len(truth)
        loss = loss + weight.square().sum() / (2 * INVERSE_PENALTY * len(truth))
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    final = weight.detach() / scale
    return Probe(final, bias.detach() - final @ centre)


def of_texts(
    model: PreTrainedModel, texts: EncodedTexts, accelerator: Accelerator, balanced: bool = False
) -> tuple[nn.Linear, Probe] | None:
    """The last layer of a model's head, and the probe that fits it; None for a head of another kind.

    Args:
        model: not yet wrapped for data parallelism; not changed.
        texts: of the training split.
        accelerator: of the processes.
        balanced: whether all classes weigh the same.
    """
    head = last_layer(model)
    if head is None:
        return None
    classes = head.out_features
    weights = torch.tensor(class_weights(texts.label_ids, classes)) if balanced else None
    values = features(model, head, texts, accelerator)
    return head, fitted(values, texts.label_ids, classes, weights, with_bias=head.bias is not None)
