"""Classifies texts with the tokenizer and the ONNX model of a bundle, under ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from slipway.components.artifacts.bundle import MODEL, TOKENIZER, Bundle
from slipway.components.artifacts.normalisation import normaliser
from slipway.components.errors import BadInput

Floats = npt.NDArray[np.float32]
TEMPERATURE = "temperature"
"""Key of the model's metadata: the number by which it divides its logits, for calibrated probabilities."""
BATCH = 32
"""Default number of texts of an inference."""
SLOW_FUSION = "SkipLayerNormFusion"
"""The optimizer that fuses a sum and the LayerNorm after it; `open_session` disables it."""


class Encoded(Protocol):
    """A text as token ids: an `Encoding` of tokenizers, or an object with the same members."""

    @property
    def ids(self) -> list[int]:
        """Token ids, special tokens included."""

    def __len__(self) -> int: ...


class Classifier:
    """A bundle ready to predict.

    Args:
        bundle: a bundle or draft, or its folder.
        threads: threads of one inference; 0 leaves the choice to ONNX Runtime.
        spin: see `open_session`.

    Raises:
        BadInput: the folder is not a bundle, or its files cannot be loaded.
        BundleRefused: the bundle is encrypted and cannot be decrypted; see `Bundle.read`.
    """

    def __init__(self, bundle: str | Path | Bundle, threads: int = 0, spin: bool = False) -> None:
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        self.labels = self.bundle.info.labels
        tokenizer, model = self.bundle.read(TOKENIZER), self.bundle.read(MODEL)
        try:
            self.tokenizer = Tokenizer.from_buffer(tokenizer)
            self.session = open_session(model, threads, spin)
        except Exception as error:  # both libraries raise their own, undocumented classes
            raise BadInput(f"the files of {self.bundle.folder} cannot be loaded: {error}") from error
        self.tokenizer.enable_truncation(self.bundle.info.max_length)
        self.tokenizer.no_padding()
        self._normalise = normaliser(self.bundle.info.normalisation)
        self._inputs = {item.name for item in self.session.get_inputs()}

    @property
    def temperature(self) -> float:
        """The number by which the model divides its logits; 1 for models that do not."""
        return float(self.session.get_modelmeta().custom_metadata_map.get(TEMPERATURE, 1))

    def logits(self, texts: Sequence[str], batch: int = BATCH) -> Floats:
        """Logits of the texts, shape (texts, classes). Texts of similar length share a batch, to save padding."""
        encodings = self.tokenizer.encode_batch(self.normalised(texts))
        order = sorted(range(len(texts)), key=lambda index: len(encodings[index].ids))
        result = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            result[rows] = self.run([encodings[row] for row in rows])
        return result

    def normalised(self, texts: Sequence[str]) -> list[str]:
        """The texts as the model knows them from its training. To do it twice changes nothing more."""
        return [self._normalise(text) for text in texts]

    def run(self, encodings: Sequence[Encoded]) -> Floats:
        """Logits of one batch of encoded texts, shape (texts, classes). The texts are padded to the longest."""
        feeds = padded(encodings, self.bundle.info.padding_id)
        logits: Floats = self.session.run(["logits"], {name: feeds[name] for name in self._inputs})[0]
        return logits

    def probabilities(self, texts: Sequence[str]) -> Floats:
        """Softmax of `logits`, shape (texts, classes)."""
        return softmax(self.logits(texts))


def open_session(
    model: bytes, threads: int = 0, spin: bool = False, left_out: Sequence[str] = (SLOW_FUSION,)
) -> onnxruntime.InferenceSession:
    """Open a session for the CPU.

    By default a sum and the LayerNorm after it are not fused: fused they take four times as long (ONNX Runtime 1.32,
    AVX-512).

    Args:
        model: an ONNX model.
        threads: threads of one inference; 0 leaves the choice to ONNX Runtime.
        spin: whether the threads wait for work by spinning. A single inference is then faster, but other inferences
            have fewer cores.
        left_out: names of ONNX Runtime's graph optimizers to disable.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(left_out)
    )


def padded(encodings: Sequence[Encoded], padding_id: int) -> dict[str, npt.NDArray[np.int64]]:
    """`input_ids` and `attention_mask` of a batch, shape (texts, tokens of the longest).

    After the end of a text come tokens with the padding id, by which decoders find the end. A text without tokens,
    which some tokenizers make of an empty one, is one such token that the model sees.
    """
    width = max(len(encoding.ids) for encoding in encodings) or 1
    ids = np.full((len(encodings), width), padding_id, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding.ids)] = encoding.ids
        mask[row, : len(encoding.ids) or 1] = 1
    return {"input_ids": ids, "attention_mask": mask}


def softmax(logits: Floats) -> Floats:
    """Probabilities over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))  # without the subtraction it could overflow
    probabilities: Floats = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return probabilities
