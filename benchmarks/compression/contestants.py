"""What is compared: each technique on top of the one before, each on its own, and what users would pick instead."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel

from slipway.components.artifacts.bundle import MODEL, Bundle
from slipway.components.artifacts.checkpoint import load_checkpoint
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.onnx_classifier import Classifier, Floats, open_session
from slipway.components.compress.architecture import heads_and_width
from slipway.components.compress.draft_bundle import Origin, write_draft_files
from slipway.components.compress.export import export, sample_inputs, trace
from slipway.components.compress.models import candidates
from slipway.components.compress.quantise import Feed, quantise_dynamically, quantise_statically
from slipway.components.compress.search_state import SearchState
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.step import search_digest
from slipway.components.compress.vocabulary import Vocabulary, reduced, with_vocabulary
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.loop import use_reproducible_cpu

CALIBRATION_TEXTS, CALIBRATION_BATCH = 256, 8
BERT_BASE = "BERT-base FP32 (random weights)"
BASELINE = "teacher, ORT FP32"
FINAL = "+ vocabulary pruned"


@dataclass(frozen=True)
class Contestant:
    """A model that is measured. `group` is `cumulative`, `alone`, `instead` or `speed`."""

    group: str
    name: str
    folder: Path
    openvino: Path | None = None
    """An OpenVINO model to be run in place of the folder's."""

    @property
    def size(self) -> int:
        """Bytes of the model and the tokenizer."""
        if self.openvino is None:
            return Bundle(self.folder).size
        weights = self.openvino.with_suffix(".bin").stat().st_size
        return self.openvino.stat().st_size + weights + (self.folder / "tokenizer.json").stat().st_size


class Field:
    """All contestants that come from one teacher.

    Args:
        checkpoint: of the teacher.
        data: that it was trained on.
        settings: of the student.
        work: keeps trained models, so that a rerun is cheap.
    """

    def __init__(self, checkpoint: Path, data: TextDataset, settings: CompressSettings, work: Path) -> None:
        self.teacher, self.tokenizer, self.info = load_checkpoint(checkpoint)
        self.texts = EncodedTexts(data.texts("train"), data.label_ids("train"), self.tokenizer, self.info["max_length"])
        digest = search_digest(checkpoint, data.digest, settings)[:16]
        self.settings, self.work = settings, work / f"students-{digest}"
        self.folder = self.work / "bundles"
        self.vocabulary = reduced(self.tokenizer, self.texts, settings.vocabulary_kept)

    def contestants(self) -> Iterator[Contestant]:
        """The plain teacher first."""
        use_reproducible_cpu(self.settings.train_threads)
        stages = SearchState(self.work)
        _, *smaller = candidates(self.teacher, self.tokenizer, self.texts, self.settings, stages)
        student, pruned = (candidate.model for candidate in smaller)
        vocabulary = self.vocabulary
        plain = self._plain(BASELINE)
        yield plain
        fused = self._fused("cumulative", "+ fused graph", self.teacher)
        yield fused
        yield self._fused("cumulative", "+ student, fewer layers", student)
        last = self._fused("cumulative", "+ heads and neurons pruned", pruned)
        yield last
        yield self._dynamic("cumulative", "+ dynamic int8, per channel", last)
        small = self._fused("alone", "vocabulary pruned, student in FP32", pruned, vocabulary)
        yield small
        yield self._dynamic("cumulative", FINAL, small, vocabulary)
        yield self._static("alone", "student, static int8 in place of dynamic", pruned, vocabulary)
        yield self._dynamic("alone", "teacher, our dynamic int8", fused)
        yield self._users_choice(plain)
        yield self._bert_base()

    def feeds(self, vocabulary: Vocabulary | None) -> list[Feed]:
        """Training texts for calibration."""
        texts = vocabulary.encoded(self.texts) if vocabulary else self.texts
        starts = range(0, min(CALIBRATION_TEXTS, len(texts)), CALIBRATION_BATCH)
        batches = [texts.batch(torch.arange(start, start + CALIBRATION_BATCH).numpy()) for start in starts]
        return [{name: value.numpy() for name, value in batch.inputs.items()} for batch in batches]

    def _new(self, group: str, name: str, precision: str, vocabulary: Vocabulary | None = None) -> Contestant:
        folder = self.folder / "".join(letter if letter.isalnum() else "-" for letter in name)
        info = Origin(self.info, "sst2", "benchmark").bundle_info(name, precision)
        write_draft_files(folder, self.tokenizer, info, vocabulary.tokenizer if vocabulary else None)
        return Contestant(group, name, folder)

    def _plain(self, name: str) -> Contestant:
        made = self._new("cumulative", name, "fp32")
        trace(self.teacher, made.folder / MODEL, sample_inputs(self.teacher, self.info["max_length"])[2])
        return made

    def _fused(self, group: str, name: str, model: PreTrainedModel, vocabulary: Vocabulary | None = None) -> Contestant:
        made = self._new(group, name, "fp32", vocabulary)
        model = with_vocabulary(model, vocabulary) if vocabulary else model
        export(model, made.folder / MODEL, self.info["max_length"], heads_and_width(model))
        return made

    def _dynamic(self, group: str, name: str, source: Contestant, vocabulary: Vocabulary | None = None) -> Contestant:
        made = self._new(group, name, "int8", vocabulary)
        quantise_dynamically(source.folder / MODEL, made.folder / MODEL)
        return made

    def _static(self, group: str, name: str, model: PreTrainedModel, vocabulary: Vocabulary | None) -> Contestant:
        made, source = self._new(group, name, "int8", vocabulary), self.folder / "unfused.onnx"
        model = with_vocabulary(model, vocabulary) if vocabulary else model
        export(model, source, self.info["max_length"], heads_and_width(model), fuse_attention=False)
        quantise_statically(source, made.folder / MODEL, self.feeds(vocabulary))
        return made

    def _users_choice(self, plain: Contestant) -> Contestant:
        """ONNX Runtime's dynamic quantisation as its documentation has it; optimum calls the same function."""
        made = self._new("instead", "ORT (optimum) dynamic int8 alone", "int8")
        quantize_dynamic(plain.folder / MODEL, made.folder / MODEL, weight_type=QuantType.QInt8)
        return made

    def _bert_base(self) -> Contestant:
        made = self._new("speed", BERT_BASE, "fp32")
        if not (made.folder / MODEL).exists():
            torch.manual_seed(0)
            model = BertForSequenceClassification(BertConfig())  # of two labels
            model.train(False)
            trace(model, made.folder / MODEL, sample_inputs(model, self.info["max_length"])[2])
        return made


def opened(contestant: Contestant, threads: int, streams: int = 1) -> Classifier:
    """The contestant, ready to answer; what users would pick instead runs as ONNX Runtime does by itself.

    But its threads do not spin after a call either: side by side they would take the cores from the next model.
    """
    if contestant.openvino is None:
        classifier = Classifier(contestant.folder, threads)
        if contestant.name in (BASELINE, BERT_BASE) or contestant.group == "instead":
            classifier.session = open_session((contestant.folder / MODEL).read_bytes(), threads, left_out=())
        return classifier
    from benchmarks.compression.nncf_models import OpenVinoClassifier

    return OpenVinoClassifier(contestant.folder, contestant.openvino, threads, streams)


class Streams:
    """A classifier that computes several batches at the same time, each in one thread of its own.

    Args:
        contestant: what is computed.
        count: how many batches.
        batch: texts of each.
    """

    def __init__(self, contestant: Contestant, count: int, batch: int) -> None:
        self._classifier, self._batch = opened(contestant, 1, count), batch
        self._pool = ThreadPoolExecutor(count)

    def logits(self, texts: Sequence[str]) -> Floats:
        """Of all texts, shape (texts, classes)."""
        parts = [texts[start : start + self._batch] for start in range(0, len(texts), self._batch)]
        return np.concatenate(list(self._pool.map(self._classifier.logits, parts)))
