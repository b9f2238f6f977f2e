"""Scores of a model during a training, on texts that it is not trained on; computed by all processes together."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from slipway.components.learning.batches import EncodedTexts, Indices

if TYPE_CHECKING:
    from accelerate import Accelerator

EVALUATION_BATCH = 32
"""Texts in one forward pass of an evaluation."""


class Scores(TypedDict):
    """Mean cross-entropy in nats, macro-averaged F1 and accuracy, both from 0 to 1."""

    loss: float
    macro_f1: float
    accuracy: float


def predict_logits(
    model: PreTrainedModel, texts: EncodedTexts, accelerator: "Accelerator | None" = None
) -> torch.Tensor:
    """The logits of all texts, float32 (texts, classes), on every process."""
    classes = int(model.config.num_labels or 0)
    return vectors_of_texts(model, texts, classes, lambda outputs, _: outputs.logits, accelerator)


def vectors_of_texts(
    model: PreTrainedModel,
    texts: EncodedTexts,
    dimensions: int,
    read: Callable[[Any, Indices], torch.Tensor],
    accelerator: "Accelerator | None" = None,
) -> torch.Tensor:
    """What is read of a forward pass for each text, float32 (texts, dimensions), on every process.

    Each process computes a part of them. The model is in evaluation mode meanwhile.

    Args:
        model: not yet wrapped for data parallelism.
        texts: of any split.
        dimensions: of a vector.
        read: takes the model's outputs for a batch and the indices of its texts; returns (batch, dimensions).
        accelerator: of the processes; None when there is this one only.
    """
    process, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    device = accelerator.device if accelerator else model.device
    order = np.argsort(texts.lengths, kind="stable")[process::processes]
    result = torch.zeros((len(texts), dimensions), device=device)
    was_training = model.training
    model.train(False)
    with torch.inference_mode():
        for start in range(0, len(order), EVALUATION_BATCH):
            indices = order[start : start + EVALUATION_BATCH]
            inputs = {name: value.to(device) for name, value in texts.batch(indices).inputs.items()}
            result[torch.from_numpy(indices)] = read(model(**inputs), indices).float()
    model.train(was_training)
    total: torch.Tensor = accelerator.reduce(result, reduction="sum") if accelerator else result
    return total.cpu()


def evaluate(model: PreTrainedModel, texts: EncodedTexts, accelerator: "Accelerator") -> Scores:
    """Loss, macro-F1 over the labels that occur, and accuracy. They are the same on every process."""
    logits = predict_logits(model, texts, accelerator)
    predicted = logits.argmax(dim=1).numpy()
    return Scores(
        loss=float(cross_entropy(logits, torch.from_numpy(texts.label_ids))),
        macro_f1=macro_f1(texts.label_ids, predicted),
        accuracy=float(np.mean(texts.label_ids == predicted)),
    )


def macro_f1(truth: Indices, predicted: Indices) -> float:
    """Mean F1 of the labels that occur among the true or the predicted ones, as scikit-learn computes it.

    scikit-learn is not used, since its import would add a second to the start of every process.
    """
    scores = [
        2 * np.sum((truth == label) & (predicted == label)) / (np.sum(truth == label) + np.sum(predicted == label))
        for label in np.union1d(truth, predicted)
    ]
    return float(np.mean(scores))
