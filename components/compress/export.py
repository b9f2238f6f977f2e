"""Export a classifier as an ONNX model with the same logits as in torch, and with a fused graph if possible."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.transformers.fusion_options import FusionOptions
from onnxruntime.transformers.optimizer import optimize_model
from torch import nn
from transformers import PreTrainedModel

from slipway.components.artifacts.onnx_classifier import open_session
from slipway.components.errors import SlipwayError
from slipway.components.learning.batches import EncodedTexts

TOLERANCE = 1e-4
"""Allowed difference of a logit from torch's, in units of the largest logit, or of 1 when that is smaller."""
OPSET = 17
"""Version of the ONNX operators."""
INPUTS = ("input_ids", "attention_mask")
SHAPES = ((1, 3), (1, 16), (3, 9), (5, 0))
"""Shapes (texts, tokens) at which the logits are compared; 0 tokens stands for the greatest length."""

SAMPLED_TEXTS = 100
"""Texts whose tokens are in the compared inputs."""

Integers = npt.NDArray[np.int64]


class Exported(NamedTuple):
    """The result of an export: the largest difference of a logit from torch's, and whether the graph is fused."""

    difference: float
    fused: bool


class LogitsOnly(nn.Module):
    """The classifier as a function of two inputs that returns the logits; it computes positions and segments itself."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits, float32 (texts, classes)."""
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def export(
    model: PreTrainedModel,
    path: Path,
    max_length: int,
    heads: tuple[int, int] = (0, 0),
    fuse_attention: bool = True,
    texts: EncodedTexts | None = None,
) -> Exported:
    """Write `model` to the ONNX file `path`: inputs int64 (texts, tokens), output `logits` float32 (texts, classes).

    ONNX Runtime's transformer optimizer fuses the graph. The fused graph is kept if its logits are those of torch;
    otherwise the plain graph is kept.

    Args:
        model: the classifier; its training mode is restored.
        path: the file to write.
        max_length: the greatest number of tokens at which the logits are compared.
        heads: attention heads of each layer, and the width of all of them, for the fusion; 0 when unknown.
        fuse_attention: False keeps attention as plain matrix products, since static int8 does not support fused ones.
        texts: whose tokens are in the compared inputs; None for random tokens.

    Raises:
        SlipwayError: the logits differ from torch's by more than `TOLERANCE`.
    """
    was_training = model.training
    model.train(False)
    samples = sample_inputs(model, max_length, texts)
    with torch.inference_mode():
        wanted = [LogitsOnly(model)(*map(torch.from_numpy, sample)).numpy() for sample in samples]
    trace(model, path, samples[2])
    model.train(was_training)
    fused_path = path.with_name(f"fused-{path.name}")
    _fuse(path, fused_path, heads, fuse_attention)
    difference = greatest_difference(fused_path, samples, wanted)
    if difference <= TOLERANCE:
        fused_path.replace(path)
        return Exported(difference, fused=True)
    fused_path.unlink()
    difference = greatest_difference(path, samples, wanted)
    if not difference <= TOLERANCE:  # also true for NaN
        raise SlipwayError(
            f"the exported {model.config.model_type} model does not give torch's logits: they differ by "
            f"{difference:.2g} of the largest, allowed is {TOLERANCE:.0g}; use an encoder of another architecture"
        )
    return Exported(difference, fused=False)


def sample_inputs(
    model: PreTrainedModel, max_length: int, texts: EncodedTexts | None = None
) -> list[tuple[Integers, Integers]]:
    """Token ids and masks of several shapes, for comparisons. All texts of a batch but the first are padded.

    Args:
        model: the classifier.
        max_length: the greatest number of tokens.
        texts: from the tokenizer, of whose tokens the inputs are, with its padding as in a server; None for random ids.
    """
    generator = np.random.default_rng(0)
    if texts is None:
        padding = int(model.config.pad_token_id or 0)
        tokens_of_texts = np.setdiff1d(np.arange(int(model.config.vocab_size)), [padding])
        generator.shuffle(tokens_of_texts)
    else:
        padding = texts.padding_id
        tokens_of_texts = np.concatenate([*map(np.asarray, texts.token_ids[:SAMPLED_TEXTS])]).astype(np.int64)
    samples = []
    for texts_in_batch, tokens in SHAPES:
        tokens = tokens or max_length
        ids = np.resize(np.roll(tokens_of_texts, -tokens), (texts_in_batch, tokens)).astype(np.int64)
        lengths = np.concatenate([[tokens], generator.integers(2, tokens + 1, texts_in_batch - 1)])
        mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
        samples.append((np.where(mask == 1, ids, padding), mask))
    return samples


def greatest_difference(
    path: Path, samples: list[tuple[Integers, Integers]], wanted: list[npt.NDArray[np.float32]]
) -> float:
    """The largest difference of an ONNX model's logits from the wanted ones, in the units of `TOLERANCE`."""
    session = open_session(path.read_bytes())
    differences = []
    for sample, logits in zip(samples, wanted, strict=True):
        measured = session.run(["logits"], dict(zip(INPUTS, sample, strict=True)))[0]
        differences.append(np.abs(measured - logits).max() / max(1.0, np.abs(logits).max()))
    return float(np.max(differences))


def trace(model: PreTrainedModel, path: Path, sample: tuple[Integers, Integers]) -> None:
    """Export by tracing, with eager attention, since the optimizer can fuse no other form of attention.

    The newer exporter (`dynamo=True`) takes five times as long, and ONNX Runtime 1.32 does not fuse its graphs.
    """
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    texts_and_tokens = {0: "texts", 1: "tokens"}
    with _quiet():
        torch.onnx.export(
            LogitsOnly(model).eval(),
            tuple(map(torch.from_numpy, sample)),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_axes=dict.fromkeys(INPUTS, texts_and_tokens) | {"logits": {0: "texts"}},
        )
    model.set_attn_implementation(implementation)


def _fuse(path: Path, fused_path: Path, heads: tuple[int, int], attention: bool = True) -> None:
    """Rewrite a BERT-like graph with ONNX Runtime's fused attention, embedding, LayerNorm and GELU operators."""
    options = FusionOptions("bert")
    options.enable_attention = attention
    with _quiet():
        model = optimize_model(
            str(path),
            model_type="bert",
            num_heads=heads[0],
            hidden_size=heads[1],
            optimization_options=options,
            opt_level=0,
            use_gpu=False,
        )
    _separate_sums(model.model.graph)
    model.save_model_to_file(str(fused_path))


def _separate_sums(graph: onnx.GraphProto) -> None:
    """Undo the fusion of a sum with the LayerNorm after it, for the reason in `open_session`."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type != "SkipLayerNormalization":
            nodes.append(node)
            continue
        left, right, scale, shift, *bias = node.input
        result, epsilon = node.output[0], next(item.f for item in node.attribute if item.name == "epsilon")
        if bias:
            nodes.append(onnx.helper.make_node("Add", [left, *bias], [f"{result}/biased"]))
            left = f"{result}/biased"
        total = node.output[3] if len(node.output) > 3 else f"{result}/sum"
        nodes.append(onnx.helper.make_node("Add", [left, right], [total]))
        inputs = [total, scale, shift]
        nodes.append(onnx.helper.make_node("LayerNormalization", inputs, [result], node.name, axis=-1, epsilon=epsilon))
    del graph.node[:]
    graph.node.extend(nodes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings of tracing and fusing: they warn of wrong results, which the comparison of logits finds."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
