"""Scores of a model during a training, on texts that it is not trained on; computed by all processes together."""

from typing import TypedDict

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from slipway.components.learning.batches import EncodedTexts, Indices

EVALUATION_BATCH = 32
"""Texts in one forward pass of an evaluation."""


class Scores(TypedDict):
    """Mean cross-entropy in nats, macro-averaged F1 and accuracy, both from 0 to 1."""

    loss: float
    macro_f1: float
    accuracy: float


def predict_logits(model: PreTrainedModel, texts: EncodedTexts, accelerator: Accelerator) -> torch.Tensor:
    """The logits of all texts, float32 (texts, classes), on every process. Each process computes a part of them."""
    order = np.argsort(texts.lengths, kind="stable")[accelerator.process_index :: accelerator.num_processes]
    logits = torch.zeros((len(texts), int(model.config.num_labels or 0)), device=accelerator.device)
    was_training = model.training
    model.train(False)
    with torch.inference_mode():
        for start in range(0, len(order), EVALUATION_BATCH):
            indices = order[start : start + EVALUATION_BATCH]
            inputs = {name: value.to(accelerator.device) for name, value in texts.batch(indices).inputs.items()}
            logits[torch.from_numpy(indices)] = model(**inputs).logits.float()
    model.train(was_training)
    total: torch.Tensor = accelerator.reduce(logits, reduction="sum")
    return total.cpu()


def evaluate(model: PreTrainedModel, texts: EncodedTexts, accelerator: Accelerator) -> Scores:
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
