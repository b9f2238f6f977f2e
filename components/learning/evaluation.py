"""Scores of a model on texts that it was not trained on."""

from typing import TypedDict

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from slipway.components.learning.batches import EncodedTexts, Indices

EVALUATION_BATCH = 32


class Scores(TypedDict):
    """Mean cross-entropy in nats, macro-averaged F1 and accuracy, both from 0 to 1."""

    loss: float
    macro_f1: float
    accuracy: float


def predict_logits(model: PreTrainedModel, texts: EncodedTexts, accelerator: Accelerator) -> torch.Tensor:
    """Logits, float32 (texts, classes), on every process; each process computes its share."""
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
    """Loss, macro-F1 over the labels that occur, and accuracy; equal on every process."""
    logits = predict_logits(model, texts, accelerator)
    predicted = logits.argmax(dim=1).numpy()
    return Scores(
        loss=float(cross_entropy(logits, torch.from_numpy(texts.label_ids))),
        macro_f1=macro_f1(texts.label_ids, predicted),
        accuracy=float(np.mean(texts.label_ids == predicted)),
    )


def macro_f1(truth: Indices, predicted: Indices) -> float:
    """Mean F1 of the labels that occur in either, as scikit-learn's, which would add a second to every start."""
    scores = [
        2 * np.sum((truth == label) & (predicted == label)) / (np.sum(truth == label) + np.sum(predicted == label))
        for label in np.union1d(truth, predicted)
    ]
    return float(np.mean(scores))
