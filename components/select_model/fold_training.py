"""One training of cross-validation, in this process.

It is imported only where a training is made, since it loads PyTorch.
"""

import numpy as np
from accelerate import Accelerator

from slipway.components.artifacts.checkpoint import load_config, load_tokenizer
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.encoder import encoder_folder
from slipway.components.artifacts.text_length import token_counts
from slipway.components.learning import linear_probe
from slipway.components.learning.baselines import tfidf_answers
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.evaluation import macro_f1, predict_logits
from slipway.components.learning.loop import Training, use_reproducible_cpu
from slipway.components.learning.open_settings import closed
from slipway.components.learning.optimisation import build_model, parameter_count
from slipway.components.learning.settings import TrainSettings
from slipway.components.select_model.choice import packed
from slipway.components.select_model.folds import Indices
from slipway.components.select_model.result import FoldScore
from slipway.components.step_runtime import progress


class _Reporter:
    """Reports the progress of a training at each point of its curve."""

    def __init__(self, training_name: str) -> None:
        self.training_name = training_name

    def updated(self, training: Training) -> None:
        """Report when the curve has a new point."""
        position = training.position
        if position.training and position.training[-1]["update"] == position.updates:
            loss = position.training[-1]["loss"]
            progress.report(
                "select_model", f"{self.training_name}: update {position.updates}, training loss {loss:.3f}"
            )

    def evaluated(self, training: Training, improved: bool) -> None:
        """Does nothing: the fold is evaluated once, after the training."""


def train_and_score(
    data: TextDataset, train_rows: Indices, held_out: Indices, settings: TrainSettings, candidate: str, fold: int
) -> FoldScore:
    """Train on some rows of the training split, and score the model on others. There is no early stopping.

    Args:
        data: the dataset; only its training split is used.
        train_rows: indices of the texts to train on.
        held_out: indices of the texts to score on.
        settings: of the training.
        candidate: name of the candidate.
        fold: number of the fold, from 0.

    Raises:
        BadInput: the encoder cannot be used with these settings.
    """
    use_reproducible_cpu(settings.threads_per_process)
    accelerator = Accelerator(cpu=True)
    folder = encoder_folder(settings.encoder)
    tokenizer = load_tokenizer(folder)
    texts, label_ids = data.texts("train"), data.label_ids("train")
    parts = [[texts[row] for row in rows] for rows in (train_rows, held_out)]
    settings = closed(settings, load_config(folder), tokenizer, token_counts(parts[0], tokenizer))
    train, unseen = (
        EncodedTexts(part, label_ids[rows], tokenizer, settings.max_length)
        for part, rows in zip(parts, (train_rows, held_out), strict=True)
    )
    model = build_model(settings, data.labels)
    balanced, simple = settings.class_weights == "balanced", {}
    if start := linear_probe.of_texts(model, train, accelerator, balanced):
        head, probe = start
        answers = probe.predicted(linear_probe.features(model, head, unseen, accelerator))
        simple["linear_probe"] = macro_f1(unseen.label_ids, answers)
        if settings.linear_probe:
            probe.put_into(head)
    (answers,) = tfidf_answers(parts[0], train.label_ids, [parts[1]], balanced)
    simple["tfidf"] = macro_f1(unseen.label_ids, answers)
    training = Training(model, train, None, settings, accelerator)
    training.fit(_Reporter(f"{candidate}, fold {fold + 1}"))
    predicted = predict_logits(training.core, unseen, accelerator).argmax(dim=1).numpy()
    right = predicted == unseen.label_ids
    return FoldScore(
        candidate=candidate,
        fold=fold,
        macro_f1=macro_f1(unseen.label_ids, predicted),
        accuracy=float(np.mean(right)),
        seconds=training.position.seconds,
        parameters=parameter_count(training.core),
        tokens=int(train.lengths.sum()) * training.position.epoch,
        right=packed(right.tolist()),
        **simple,
    )
