"""Entry point of the step `compress`."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from components import progress
from components.bundle import MODEL, Bundle, updated_info, write_info
from components.checkpoint import load_checkpoint
from components.classifier import Classifier
from components.compress.architecture import heads_and_width
from components.compress.choose import Choice, Measured, choose, pareto_front
from components.compress.draft import Origin, write_draft_files
from components.compress.export import TOLERANCE, Exported, export
from components.compress.lessons import STEP
from components.compress.measure import BATCH_SIZES, quality, time_side_by_side
from components.compress.models import candidates
from components.compress.quantise import quantise_dynamically
from components.compress.settings import CompressSettings
from components.dataset import TextDataset
from components.errors import BadInput
from components.reference import reference_of
from components.train.batches import EncodedTexts
from components.train.loop import use_reproducible_cpu
from components.train.optimisation import parameter_count


@dataclass(frozen=True)
class Variant:
    """A draft bundle in a folder of its own, with the seconds that it took to make."""

    name: str
    folder: Path
    parameters: int
    seconds: float
    exported: Exported


def run(
    checkpoint: Path,
    dataset: Path,
    settings: CompressSettings,
    model_name: str,
    code_version: str,
    output: Path,
) -> dict[str, Any]:
    """Make smaller variants of a trained classifier, measure them here, and write the best as a draft bundle.

    Args:
        checkpoint: the checkpoint folder of the teacher.
        dataset: the dataset folder that it was trained on; students learn from the training split, and the
            validation split decides.
        settings: which variants, and what the chosen one must keep.
        model_name: name of the model in the bundle.
        code_version: version of the code in the bundle.
        output: becomes a draft bundle.

    Returns:
        Candidates with their measurements and the reasons why each was chosen or not, the chosen one, the floor,
        the teacher's values, the tolerance of the export, threads and settings.

    Raises:
        BadInput: the checkpoint and the dataset do not belong together, a split is empty, or the encoder's
            architecture cannot be compressed in the way that is asked for.
        SlipwayError: a model cannot be exported faithfully.
    """
    started = time.monotonic()
    teacher, tokenizer, info = load_checkpoint(checkpoint)
    data = TextDataset(dataset)
    _check(info, data, checkpoint, dataset)
    use_reproducible_cpu(settings.train_threads or _cores())
    texts = EncodedTexts(data.texts("train"), data.label_ids("train"), tokenizer, info["max_length"])
    origin = Origin(info, model_name, code_version)
    with tempfile.TemporaryDirectory() as work:
        variants = list(_make(teacher, tokenizer, texts, settings, origin, Path(work)))
        measured = _measure(variants, data, settings)
        floor = settings.quality_share * measured[0].macro_f1
        choice = choose(measured[0], measured[1:], floor)
        number = next(index for index, one in enumerate(measured) if one.name == choice.chosen)
        _deliver(variants[number], measured[number], data.texts("validation"), output)
    progress.report(STEP, f"chosen: {choice.chosen}, {choice.reasons[choice.chosen]}")
    return _result(variants, measured, choice, floor, settings) | {"seconds": time.monotonic() - started}


def _check(info: dict[str, Any], data: TextDataset, checkpoint: Path, dataset: Path) -> None:
    if info["dataset_digest"] != data.digest:
        raise BadInput(
            f"the checkpoint {checkpoint} was trained on the dataset {info['dataset_digest']}, but {dataset} is "
            f"{data.digest}; give the dataset of the training, or train again"
        )
    for split in ("train", "validation"):
        if not len(data.label_ids(split)):
            raise BadInput(f"the {split} split of {dataset} is empty; check the split shares of prepare_data")


def _make(
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: EncodedTexts,
    settings: CompressSettings,
    origin: Origin,
    work: Path,
) -> Iterator[Variant]:
    """Each model as an fp32 and, if asked for, an int8 draft bundle; the first is the teacher in fp32."""
    for candidate in candidates(teacher, texts, settings, work):
        started = time.monotonic()
        progress.report(STEP, f"exporting {candidate.name}")
        model, name = candidate.model, candidate.name
        folder, parameters = work / name, parameter_count(model)
        write_draft_files(folder, tokenizer, origin.bundle_info(name, "fp32"))
        exported = export(model, folder / MODEL, origin.checkpoint_info["max_length"], heads_and_width(model))
        yield Variant(name, folder, parameters, candidate.seconds + time.monotonic() - started, exported)
        if settings.quantise:
            started = time.monotonic()
            name = f"{candidate.name}+int8"
            write_draft_files(work / name, tokenizer, origin.bundle_info(name, "int8"))
            quantise_dynamically(folder / MODEL, work / name / MODEL)
            yield Variant(name, work / name, parameters, time.monotonic() - started, exported)


def _measure(variants: Sequence[Variant], data: TextDataset, settings: CompressSettings) -> list[Measured]:
    texts, label_ids = data.texts("validation"), data.label_ids("validation")
    progress.report(STEP, f"measuring {len(variants)} variants on {len(texts)} texts")
    threads = settings.serving_threads or _cores()
    classifiers = {variant.name: Classifier(variant.folder, threads) for variant in variants}
    scores = {name: quality(classifier, texts, label_ids) for name, classifier in classifiers.items()}
    timings = time_side_by_side(classifiers, texts, settings.latency_rounds, settings.seed)
    return [
        Measured(
            variant.name,
            *scores[variant.name],
            size_bytes=Bundle(variant.folder).size,
            timings=timings[variant.name],
            parameters=variant.parameters,
            seconds=variant.seconds,
        )
        for variant in variants
    ]


def _deliver(variant: Variant, measured: Measured, texts: Sequence[str], output: Path) -> None:
    """Copy the draft bundle to the output, with its measurements and what it makes of the validation texts."""
    shutil.copytree(variant.folder, output, dirs_exist_ok=True)
    info = updated_info(
        Bundle(output).info,
        metrics={"validation_accuracy": measured.accuracy, "validation_macro_f1": measured.macro_f1},
        latency_ms=_latencies(measured),
        reference=reference_of(Classifier(output, _cores()), texts),
    )
    write_info(output, info)


def _latencies(measured: Measured) -> dict[str, float]:
    return {str(size): round(measured.latency(size), 4) for size in BATCH_SIZES}


def _result(
    variants: Sequence[Variant],
    measured: Sequence[Measured],
    choice: Choice,
    floor: float,
    settings: CompressSettings,
) -> dict[str, Any]:
    front = pareto_front(measured)
    rows = [
        {
            "name": one.name,
            "accuracy": one.accuracy,
            "macro_f1": one.macro_f1,
            "size_bytes": one.size_bytes,
            "latency_ms": _latencies(one),
            "parameters": one.parameters,
            "seconds": one.seconds,
            "fused": variant.exported.fused,
            "eligible": one.name in choice.eligible,
            "on_front": one.name in front,
            "chosen": one.name == choice.chosen,
            "reason": choice.reasons[one.name],
        }
        for variant, one in zip(variants, measured, strict=True)
    ]
    return {
        "candidates": rows,
        "chosen": choice.chosen,
        "floor": floor,
        "teacher": rows[0],
        "tolerance": {"allowed": TOLERANCE, "measured": max(variant.exported.difference for variant in variants)},
        "threads": settings.serving_threads or _cores(),
        "settings": settings.model_dump(),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0))
