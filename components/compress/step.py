"""Entry point of the step `compress`: make variants of a trained classifier, measure them, and deliver the best."""

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slipway.components.artifacts.bundle import Bundle, updated_info, write_info
from slipway.components.artifacts.checkpoint import load_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.drift_reference import reference_of
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.compress.choose import Choice, Measured, choose, pareto_front
from slipway.components.compress.draft_bundle import Origin
from slipway.components.compress.export import TOLERANCE
from slipway.components.compress.measure import BATCH_SIZES, quality, time_side_by_side
from slipway.components.compress.models import candidates
from slipway.components.compress.quality import ALL, kept
from slipway.components.compress.result import Budget, Calibration, CompressResult, Tolerance, VariantResult
from slipway.components.compress.search_state import SearchState
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import STEP
from slipway.components.compress.temperature import calibrate
from slipway.components.compress.variants import Variant, VariantWriter
from slipway.components.errors import BadInput
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.loop import use_reproducible_cpu
from slipway.components.learning.training_checkpoints import exclusive
from slipway.components.machine.cpu_count import cores
from slipway.components.step_runtime import progress

SEARCH_FORMAT = 1
"""Increase it when the code changes so that the stages of an older search must not be resumed."""
NO_EFFECT_ON_MODELS = {
    "quality_share",
    "quality_confidence",
    "target",
    "budget_s",
    "vocabulary_kept",
    "quantise",
    "static",
    "float_matrices",
    "give_up",
    "stored_outputs_gb",
    "train_threads",
    "serving_threads",
    "latency_rounds",
}


def run(
    checkpoint: Path,
    dataset: Path,
    settings: CompressSettings,
    model_name: str,
    code_version: str,
    output: Path,
    work: Path | None = None,
) -> CompressResult:
    """Make smaller variants of a trained classifier, measure them here, and write the best as a draft bundle.

    Args:
        checkpoint: the checkpoint folder of the teacher.
        dataset: the dataset folder that it was trained on. Students are trained on the training split; the choice is
            made on the validation split.
        settings: which variants to make, what the chosen one must keep, and the time budget.
        model_name: name of the model in the bundle.
        code_version: version of the code in the bundle.
        output: becomes a draft bundle.
        work: a folder that is kept when a run is killed. Each search has a folder of its own in it, named by the digest
            of teacher, data and settings. A later run of the same search resumes from there. None for a search that
            cannot be resumed.

    Raises:
        BadInput: the checkpoint was trained on another dataset, a split is empty, or the encoder's architecture cannot
            be compressed as the settings say; or the teacher was trained privately, and the settings ask for variants
            that are made from the training texts.
        SlipwayError: the logits of an exported model are wrong, or another run of the same search is going on.
    """
    started = time.monotonic()
    teacher, tokenizer, info = load_checkpoint(checkpoint)
    data = TextDataset(dataset)
    _check(info, data, checkpoint, dataset)
    if info.get("privacy"):
        settings.check_private()
    use_reproducible_cpu(settings.train_threads or cores())
    texts = EncodedTexts(data.texts("train"), data.label_ids("train"), tokenizer, info["max_length"])
    origin = Origin(info, model_name, code_version, data.info.get("normalisation", ""))
    with _search_folder(work, search_digest(checkpoint, data.digest, settings)) as folder:
        validation = EncodedTexts(data.texts("validation"), data.label_ids("validation"), tokenizer, info["max_length"])
        search = SearchState(folder / "stages", settings.budget_s)
        writer = VariantWriter(tokenizer, texts, settings, origin, folder / "variants")
        variants: list[Variant] = []
        for number, candidate in enumerate(candidates(teacher, tokenizer, texts, settings, search, validation)):
            variants.extend(writer.variants(candidate, whole_vocabulary=number == 0))
        measured = _measure(variants, data, settings)
        choice = choose(measured[0], measured[1:], settings.quality_share, settings.quality_confidence, settings.target)
        number = next(index for index, variant in enumerate(measured) if variant.name == choice.chosen)
        calibration = _deliver(variants[number], measured[number], data, output)
    progress.report(STEP, f"chosen: {choice.chosen}, {choice.reasons[choice.chosen]}")
    rows = _rows(variants, measured, choice)
    return CompressResult(
        candidates=rows,
        chosen=choice.chosen,
        floor=settings.quality_share * measured[0].macro_f1,
        teacher=rows[0],
        calibration=calibration,
        tolerance=Tolerance(allowed=TOLERANCE, measured=max(variant.exported.difference for variant in variants)),
        threads=settings.serving_threads or cores(),
        settings=settings.model_dump(),
        budget=_budget(search),
        given_up=search.given_up,
        seconds=time.monotonic() - started,
    )


def search_digest(checkpoint: Path, dataset_digest: str, settings: CompressSettings) -> str:
    """The digest of everything that determines the weights of the models. A search is resumed only by this digest.

    An empty list of students is left out, so that the digest is the one of releases without that setting.
    """
    files = sorted(checkpoint.glob("*.safetensors"))
    weights = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    relevant = settings.model_dump(exclude=NO_EFFECT_ON_MODELS | (set() if settings.students else {"students"}))
    record = {"format": SEARCH_FORMAT, "teacher": weights, "dataset": dataset_digest, "settings": relevant}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


@contextmanager
def _search_folder(work: Path | None, digest: str) -> Iterator[Path]:
    """The folder of a search. It is removed when the search succeeds, and kept when it fails."""
    if work is None:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)
        return
    folder = work.absolute() / f"compress-{digest[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder):
        yield folder
    shutil.rmtree(folder)


def _budget(search: SearchState) -> Budget:
    """The part of the result about the budget; it is reported when it was too short."""
    if search.unfinished:
        missing = ", ".join(search.unfinished)
        progress.report(STEP, f"the budget of {search.budget_s:g} s was spent before {missing} were ready")
    return Budget(
        seconds=search.budget_s,
        exhausted=bool(search.unfinished),
        unfinished=search.unfinished,
        resumed=search.resumed,
    )


def _check(info: dict[str, Any], data: TextDataset, checkpoint: Path, dataset: Path) -> None:
    if info["dataset_digest"] != data.digest:
        raise BadInput(
            f"the checkpoint {checkpoint} was trained on the dataset {info['dataset_digest']}, but {dataset} is "
            f"{data.digest}; give the dataset of the training, or train again"
        )
    for split in ("train", "validation"):
        if not len(data.label_ids(split)):
            raise BadInput(f"the {split} split of {dataset} is empty; check the split shares of prepare_data")


def _measure(variants: Sequence[Variant], data: TextDataset, settings: CompressSettings) -> list[Measured]:
    texts, label_ids = data.texts("validation"), data.label_ids("validation")
    progress.report(STEP, f"measuring {len(variants)} variants on {len(texts)} texts")
    threads = settings.serving_threads or cores()
    classifiers = {variant.name: Classifier(variant.folder, threads) for variant in variants}
    answers = [classifier.logits(texts).argmax(axis=1) for classifier in classifiers.values()]
    timings = time_side_by_side(classifiers, texts, settings.latency_rounds, settings.seed)
    classes, confidence = len(data.labels), settings.quality_confidence
    return [
        Measured(
            variant.name,
            *quality(answer, label_ids, classes),
            kept=kept(label_ids, answer, answers[0], classes, confidence, settings.seed) if number else ALL,
            size_bytes=Bundle(variant.folder).size,
            timings=timings[variant.name],
            parameters=variant.parameters,
            seconds=variant.seconds,
        )
        for number, (variant, answer) in enumerate(zip(variants, answers, strict=True))
    ]


def _deliver(variant: Variant, measured: Measured, data: TextDataset, output: Path) -> Calibration:
    """Copy the draft bundle to the output, calibrated and with its measurements and its drift reference.

    Temperature and drift reference are those of the validation split.
    """
    shutil.copytree(variant.folder, output, dirs_exist_ok=True)
    texts = data.texts("validation")
    calibration = calibrate(output, Classifier(output, cores()), texts, data.label_ids("validation"))
    info = updated_info(
        Bundle(output).info,
        metrics={"validation_accuracy": measured.accuracy, "validation_macro_f1": measured.macro_f1},
        latency_ms=_latencies(measured),
        reference=reference_of(Classifier(output, cores()), texts),
    )
    write_info(output, info)
    return calibration


def _latencies(measured: Measured) -> dict[str, float]:
    return {str(size): round(measured.latency(size), 4) for size in BATCH_SIZES}


def _rows(variants: Sequence[Variant], measured: Sequence[Measured], choice: Choice) -> list[VariantResult]:
    front = pareto_front(measured)
    return [
        VariantResult(
            name=values.name,
            accuracy=values.accuracy,
            macro_f1=values.macro_f1,
            kept=values.kept.share,
            kept_at_least=values.kept.at_least,
            size_bytes=values.size_bytes,
            latency_ms=_latencies(values),
            latency_p95_ms={str(size): round(values.latency_p95(size), 4) for size in BATCH_SIZES},
            parameters=values.parameters,
            seconds=values.seconds,
            fused=variant.exported.fused,
            eligible=values.name in choice.eligible,
            on_front=values.name in front,
            chosen=values.name == choice.chosen,
            reason=choice.reasons[values.name],
        )
        for variant, values in zip(variants, measured, strict=True)
    ]
