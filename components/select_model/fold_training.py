"""One training of cross-validation, in this process; heavy to import, so only where it is made."""

from accelerate import Accelerator

from slipway.components.artifacts.checkpoint import load_tokenizer
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.encoder import encoder_folder
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.evaluation import evaluate
from slipway.components.learning.loop import Training, use_reproducible_cpu
from slipway.components.learning.optimisation import build_model, parameter_count
from slipway.components.learning.settings import TrainSettings
from slipway.components.select_model.folds import Indices
from slipway.components.select_model.result import FoldScore
from slipway.components.step_runtime import progress


class _Reporter:
    """Says how far a training is, as often as the training curve has points."""

    def __init__(self, what: str) -> None:
        self.what = what

    def updated(self, training: Training) -> None:
        """Report when the curve has a new point."""
        place = training.position
        if place.training and place.training[-1]["update"] == place.updates:
            loss = place.training[-1]["loss"]
            progress.report("select_model", f"{self.what}: update {place.updates}, training loss {loss:.3f}")

    def evaluated(self, training: Training, improved: bool) -> None:
        """Nothing: the fold is looked at once, at the end."""


def train_and_score(
    data: TextDataset, train_rows: Indices, held_out: Indices, settings: TrainSettings, candidate: str, fold: int
) -> FoldScore:
    """Train on some rows of the training split and score on others, without early stopping.

    Raises:
        BadInput: the encoder cannot be used with these settings.
    """
    use_reproducible_cpu(settings.threads_per_process)
    accelerator = Accelerator(cpu=True)
    tokenizer = load_tokenizer(encoder_folder(settings.encoder))
    texts, label_ids = data.texts("train"), data.label_ids("train")
    train, unseen = (
        EncodedTexts([texts[row] for row in rows], label_ids[rows], tokenizer, settings.max_length)
        for rows in (train_rows, held_out)
    )
    training = Training(build_model(settings, data.labels), train, None, settings, accelerator)
    training.fit(_Reporter(f"{candidate}, fold {fold + 1}"))
    scores = evaluate(training.core, unseen, accelerator)
    return FoldScore(
        candidate=candidate,
        fold=fold,
        macro_f1=scores["macro_f1"],
        accuracy=scores["accuracy"],
        seconds=training.position.seconds,
        parameters=parameter_count(training.core),
        tokens=int(train.lengths.sum()) * training.position.epoch,
    )
