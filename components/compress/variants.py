"""Write each torch model as draft bundles: in fp32, in dynamic int8 and in static int8."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from slipway.components.artifacts.bundle import MODEL
from slipway.components.compress.architecture import heads_and_width
from slipway.components.compress.draft_bundle import Origin, write_draft_files
from slipway.components.compress.export import Exported, export
from slipway.components.compress.models import Candidate
from slipway.components.compress.quantise import Feed, most_sensitive, quantise_dynamically, quantise_statically
from slipway.components.compress.settings import CompressSettings
from slipway.components.compress.teacher_outputs import STEP
from slipway.components.compress.vocabulary import Vocabulary, reduced, with_vocabulary
from slipway.components.learning.batches import EncodedTexts
from slipway.components.learning.optimisation import parameter_count
from slipway.components.step_runtime import progress

CALIBRATION_BATCH = 8
"""Texts of one input for calibration."""


@dataclass(frozen=True)
class Variant:
    """A draft bundle in a folder of its own, and the seconds that it took to make."""

    name: str
    folder: Path
    parameters: int
    seconds: float
    exported: Exported


class VariantWriter:
    """Makes draft bundles of models.

    Args:
        tokenizer: the teacher's.
        texts: the training texts.
        settings: which variants to make, and how much of the vocabulary smaller models keep.
        origin: of the bundles.
        folder: gets a folder for each variant.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        texts: EncodedTexts,
        settings: CompressSettings,
        origin: Origin,
        folder: Path,
    ) -> None:
        self.tokenizer, self.texts, self.settings, self.origin, self.folder = tokenizer, texts, settings, origin, folder
        self.vocabulary = reduced(tokenizer, texts, settings.vocabulary_kept) if settings.vocabulary_kept < 1 else None

    def variants(self, candidate: Candidate, whole_vocabulary: bool) -> Iterator[Variant]:
        """Yield the variants of a model, the one in fp32 first.

        Args:
            candidate: the model.
            whole_vocabulary: whether the model keeps its whole vocabulary, as the teacher does.
        """
        vocabulary = None if whole_vocabulary else self.vocabulary
        model = with_vocabulary(candidate.model, vocabulary) if vocabulary else candidate.model
        texts = vocabulary.encoded(self.texts) if vocabulary else self.texts
        progress.report(STEP, f"exporting {candidate.name}")
        fp32 = self._variant(
            candidate.name, "fp32", model, vocabulary, lambda path: self._export(model, path, texts), candidate.seconds
        )
        yield fp32
        source, exported = fp32.folder / MODEL, fp32.exported
        if self.settings.quantise:
            yield self._variant(
                f"{candidate.name}+int8",
                "int8",
                model,
                vocabulary,
                lambda path: self._dynamic(source, path, texts, exported),
            )
        if self.settings.static:
            yield self._variant(
                f"{candidate.name}+static-int8",
                "int8",
                model,
                vocabulary,
                lambda path: self._static(model, path, texts),
            )

    def _variant(
        self,
        name: str,
        precision: str,
        model: PreTrainedModel,
        vocabulary: Vocabulary | None,
        write: Callable[[Path], Exported],
        seconds: float = 0.0,
    ) -> Variant:
        started, folder = time.monotonic(), self.folder / name
        rewritten = vocabulary.tokenizer if vocabulary else None
        write_draft_files(folder, self.tokenizer, self.origin.bundle_info(name, precision), rewritten)
        exported = write(folder / MODEL)
        return Variant(name, folder, parameter_count(model), seconds + time.monotonic() - started, exported)

    def _export(self, model: PreTrainedModel, path: Path, texts: EncodedTexts, fuse_attention: bool = True) -> Exported:
        longest = self.origin.checkpoint_info["max_length"]
        return export(model, path, longest, heads_and_width(model), fuse_attention, texts)

    def _dynamic(self, source: Path, path: Path, texts: EncodedTexts, exported: Exported) -> Exported:
        quantise_dynamically(source, path, self._kept_float(source, path, texts))
        return exported

    def _static(self, model: PreTrainedModel, path: Path, texts: EncodedTexts) -> Exported:
        source = path.with_name("plain.onnx")
        exported = self._export(model, source, texts, fuse_attention=False)
        quantise_statically(source, path, self._feeds(texts), self._kept_float(source, path, texts))
        source.unlink()
        return exported

    def _kept_float(self, source: Path, scratch: Path, texts: EncodedTexts) -> list[str]:
        if not self.settings.float_matrices:
            return []
        return most_sensitive(source, self._feeds(texts), self.settings.float_matrices, scratch)

    def _feeds(self, texts: EncodedTexts) -> list[Feed]:
        """A sample of the training texts as inputs of the exported model."""
        order = np.random.default_rng(self.settings.seed).permutation(len(texts))[: self.settings.importance_texts]
        parts = np.array_split(order, -(-len(order) // CALIBRATION_BATCH))
        return [{name: value.numpy() for name, value in texts.batch(part).inputs.items()} for part in parts]
