"""One worker process of a training: `torchrun --nproc-per-node N -m slipway.components.train.worker CONFIG.json`.

A launcher that sets `SLIPWAY_WATCH_STDIN` holds the other end of the workers' standard input. When the launcher dies,
also by SIGKILL, the system closes that end, and the workers stop. So no training goes on without its launcher.
"""

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from accelerate import Accelerator
from transformers import PreTrainedModel

from slipway.components.artifacts.checkpoint import encoder_folder, load_config, load_tokenizer, save_checkpoint
from slipway.components.artifacts.dataset import SPLITS, TextDataset
from slipway.components.artifacts.text_length import token_counts
from slipway.components.errors import SlipwayError
from slipway.components.learning import linear_probe
from slipway.components.learning.baselines import LINEAR_PROBE, TFIDF, Baseline, scored, tfidf_answers
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.loop import Training, use_reproducible_cpu
from slipway.components.learning.open_settings import closed
from slipway.components.learning.optimisation import build_model, parameter_count
from slipway.components.learning.settings import TrainSettings
from slipway.components.learning.training_checkpoints import CheckpointStore, exclusive, write_json
from slipway.components.step_runtime import progress
from slipway.components.train.config import STEP, WorkerConfig
from slipway.components.train.result import TrainResult

if TYPE_CHECKING:
    from slipway.components.train.tracking import Tracker


class Recorder:
    """Observes a training, and records progress, metrics in MLflow, and checkpoints.

    Args:
        store: of the checkpoints.
        tracker: the MLflow run; None on all processes but the first.
    """

    def __init__(self, store: CheckpointStore, tracker: "Tracker | None") -> None:
        self.store, self.tracker = store, tracker

    def updated(self, training: Training) -> None:
        """Log the newest point of the curve; write a checkpoint when one is due."""
        position = training.position
        point = position.training[-1] if position.training else None
        if self.tracker and point and point["update"] == position.updates:
            values = {"train_loss": point["loss"], "learning_rate": point["learning_rate"]}
            self.tracker.log_metrics(values, position.updates)
            message = f"epoch {position.epoch + 1}: training loss {point['loss']:.3f}"
            progress.report(STEP, message, position.updates, training.total_updates)
        if position.updates % training.settings.checkpoint_every == 0:
            self.store.save(training)

    def evaluated(self, training: Training, improved: bool) -> None:
        """Log the scores of an evaluation and keep the weights when they are the best."""
        point = training.position.validation[-1]
        if self.tracker:
            values = {f"validation_{name}": point[name] for name in ("loss", "macro_f1", "accuracy")}
            if training.private:
                values["privacy_epsilon_spent"] = training.private.budget.epsilon(point["update"])
            self.tracker.log_metrics(values, point["update"])
            message = f"epoch {point['epoch']}, update {point['update']}: validation macro-F1 {point['macro_f1']:.3f}"
            message += f", loss {point['loss']:.3f}" + (" (best so far)" if improved else "")
            progress.report(STEP, message, point["update"], training.total_updates)
        if improved:
            self.store.save_best(training)
        self.store.save(training)


def train(config: WorkerConfig) -> None:
    """Train as one of the workers. The first worker writes the model, the result and the MLflow run.

    Raises:
        BadInput: the dataset, the encoder, the settings or the tracking server cannot be used.
        SlipwayError: another training is at work in the same work folder.
    """
    settings = config.settings
    use_reproducible_cpu(settings.threads_per_process)
    accelerator = Accelerator(cpu=True)
    dataset = TextDataset(config.dataset)
    store = CheckpointStore(config.work, config.digest)
    with exclusive(config.work) if accelerator.is_main_process else contextlib.nullcontext():
        accelerator.wait_for_everyone()  # until the first worker has locked the work folder
        prepared = _prepare(config, dataset, accelerator)
        training = prepared.training
        message = store.restore(training)
        resumed_from = training.position.updates or None
        tracker = None
        if accelerator.is_main_process:
            if message:
                progress.report(STEP, message if resumed_from else f"starting afresh: {message}")
            if not resumed_from:
                store.clear()  # removes checkpoints that cannot be used
            from slipway.components.train.tracking import Tracker  # the first worker alone waits for MLflow to load

            tracker = Tracker(config.tracking_uri, settings.experiment, config.run_name, config.work, store.digest)
        _fit(config, dataset, prepared, Recorder(store, tracker), resumed_from)


class Prepared(NamedTuple):
    """A training that can begin, and what was found out for it."""

    training: Training
    from_probe: bool
    """Whether the head starts from the linear probe."""
    facts: dict[str, Any]
    """The fields `baselines`, `texts_cut` and `texts_read` of the result."""


def _prepare(config: WorkerConfig, dataset: TextDataset, accelerator: Accelerator) -> Prepared:
    folder = encoder_folder(config.settings.encoder)
    tokenizer = load_tokenizer(folder)
    counts = {split: token_counts(dataset.texts(split), tokenizer) for split in SPLITS}
    settings = closed(config.settings, load_config(folder), tokenizer, counts["train"])
    cut = {split: int((count > settings.max_length).sum()) for split, count in counts.items()}
    if accelerator.is_main_process and cut["train"]:
        rest = f"{cut['train']} of {len(counts['train'])} training texts are longer than {settings.max_length} tokens"
        progress.report(STEP, f"{rest}; what follows is not read")
    model = build_model(settings, dataset.labels)
    texts = {
        split: EncodedTexts(dataset.texts(split), dataset.label_ids(split), tokenizer, settings.max_length)
        for split in SPLITS
    }
    # What a private training gives away is counted; simple models of the same texts would come on top.
    simple = [] if settings.privacy_epsilon else _baselines(model, dataset, texts, settings, accelerator)
    from_probe = settings.linear_probe and any(baseline.name == LINEAR_PROBE for baseline in simple)
    facts = {
        "baselines": [baseline.model_dump() for baseline in simple],
        "texts_cut": cut,
        "texts_read": {split: len(count) for split, count in counts.items()},
    }
    return Prepared(Training(model, texts["train"], texts["validation"], settings, accelerator), from_probe, facts)


def _baselines(
    model: PreTrainedModel,
    dataset: TextDataset,
    texts: dict[str, EncodedTexts],
    settings: TrainSettings,
    accelerator: Accelerator,
) -> list[Baseline]:
    """The scores of the simple classifiers. The linear probe becomes the model's head, if the settings say so."""
    if accelerator.is_main_process:
        progress.report(STEP, "fitting the baselines: a linear probe of the encoder, and TF-IDF")
    balanced, asked = settings.class_weights == "balanced", ("validation", "test")
    truths = [texts[split].label_ids for split in asked]
    found = []
    if start := linear_probe.of_texts(model, texts["train"], accelerator, balanced):
        head, probe = start
        answers = [probe.predicted(linear_probe.features(model, head, texts[split], accelerator)) for split in asked]
        found.append(scored(LINEAR_PROBE, truths, answers))
        if settings.linear_probe:
            probe.put_into(head)
    if accelerator.is_main_process:
        words = [dataset.texts(split) for split in asked]
        answers = tfidf_answers(dataset.texts("train"), texts["train"].label_ids, words, balanced)
        found.append(scored(TFIDF, truths, answers))
        for baseline in found:
            progress.report(STEP, f"{baseline.name}: validation macro-F1 {baseline.macro_f1:.3f}")
    return found


def _fit(
    config: WorkerConfig,
    dataset: TextDataset,
    prepared: Prepared,
    recorder: Recorder,
    resumed_from: int | None,
) -> None:
    tracker, training = recorder.tracker, prepared.training
    try:
        if tracker:
            facts = {"dataset_digest": dataset.digest, "parameters": parameter_count(training.core)}
            if training.private:
                budget = training.private.budget
                facts |= {"noise_multiplier": budget.noise_multiplier, "sampling_rate": budget.sampling_rate}
                facts |= {"delta": budget.delta}
            tracker.log_parameters(training.settings.model_dump() | facts)
        training.fit(recorder, prepared.from_probe)
        if tracker:
            _finish(config, dataset, prepared, recorder, tracker, resumed_from)
            tracker.finish("FINISHED")
            recorder.store.clear()
    except BaseException:
        if tracker:
            tracker.finish("FAILED")
        raise


def _finish(
    config: WorkerConfig,
    dataset: TextDataset,
    prepared: Prepared,
    recorder: Recorder,
    tracker: "Tracker",
    resumed_from: int | None,
) -> None:
    """Write the best model to the output folder, and the result to the launch folder."""
    training = prepared.training
    settings, position = training.settings, training.position
    best = position.best()
    if best is None:
        raise SlipwayError("the training ended without an evaluation; remove the work folder and train again")
    validation = {name: best[name] for name in ("loss", "macro_f1", "accuracy")}
    model = training.core
    model.load_state_dict(recorder.store.load_best())
    info: dict[str, Any] = {
        "labels": dataset.labels,
        "dataset_digest": dataset.digest,
        "encoder": settings.encoder,
        "max_length": settings.max_length,
        "settings": settings.model_dump(),
        "best_epoch": best["epoch"],
        "best_update": best["update"],
        "validation": validation,
        "parameters": parameter_count(model),
        "mlflow_run_id": tracker.run_id,
    }
    if training.private:
        info["privacy"] = training.private.budget.spent(position.updates).model_dump()
    save_checkpoint(config.output, model, load_tokenizer(encoder_folder(settings.encoder)), info)
    facts = prepared.facts | {
        "updates": position.updates,
        "epochs": position.epoch,
        "stopped_early": position.epoch < settings.epochs,
        "seconds": position.seconds,
        "processes": training.accelerator.num_processes,
        "resumed_from": resumed_from,
        "curves": {"training": position.training, "validation": position.validation},
    }
    write_json(config.result_file, TrainResult.model_validate(info | facts).to_json())


def _stop_with_launcher() -> None:
    """Start a thread that stops this process at once when standard input ends."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        os._exit(143)

    threading.Thread(target=watch, daemon=True).start()


def main(path: str) -> None:
    """Read the configuration and train. A SlipwayError is written to the error file, for the launcher."""
    config = WorkerConfig.model_validate_json(Path(path).read_text("utf-8"))
    if os.environ.get("SLIPWAY_WATCH_STDIN"):
        _stop_with_launcher()
    try:
        train(config)
    except SlipwayError as error:
        write_json(config.error_file, {"kind": type(error).__name__, "message": str(error)})
        raise


if __name__ == "__main__":
    main(sys.argv[1])
