"""Make int8 variants of ONNX models, with scales of activations from inference (dynamic) or from before (static)."""

import contextlib
import logging
import platform
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from slipway.components.artifacts.onnx_classifier import open_session

CPU = Path("/proc/cpuinfo")
Feed = dict[str, npt.NDArray[np.int64]]
MATRICES = ("MatMul", "Attention", "Gemm")
"""Operators whose int8 form is faster. All others take little time."""
FLOAT = {"DefaultTensorType": onnx.TensorProto.FLOAT}
"""The quantiser cannot infer the output types of fused operators. All floating-point values here are float32."""


@lru_cache(maxsize=1)
def overflows() -> bool:
    """Whether sums of int8 products overflow on this machine, so that weights may use 7 bits only.

    An x86 processor without VNNI adds two products of unsigned and signed bytes in 16 bits, which saturate (ONNX
    Runtime's guide to quantisation, on `reduce_range`). A bundle with 7 bits is right on every machine. One with 8 bits
    may lose quality on a machine where sums overflow.
    """
    try:
        flags = CPU.read_text("ascii").split()
    except OSError:  # not Linux
        return False
    return platform.machine() == "x86_64" and not any(flag.endswith("_vnni") for flag in flags)


def quantise_dynamically(source: Path, target: Path, kept_float: Sequence[str] = ()) -> None:
    """Write the model with int8 weights, which have a scale for each output channel. Activations are quantised at
    inference.

    The embedding tables become int8, too, with one scale: they are more than half of a small model.

    Args:
        source: the ONNX model in fp32.
        target: the file to write.
        kept_float: names of nodes that stay in floating point.
    """
    with _quiet():
        quantize_dynamic(
            str(source),
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=overflows(),
            nodes_to_exclude=list(kept_float),
            extra_options=FLOAT | {"MatMulConstBOnly": True},
        )


def quantise_statically(source: Path, target: Path, feeds: Iterable[Feed], kept_float: Sequence[str] = ()) -> None:
    """Write the model with int8 weights and activations. The scales of activations are measured on `feeds`.

    Weights have a scale for each output channel. Activations are unsigned and have one scale each, from the least to
    the greatest value in `feeds`. Only the weights of embedding tables are int8. Matrix products are written in ONNX's
    own form, with operators before and after them that quantise and dequantise. ONNX Runtime turns this form into int8
    kernels when it loads the model. It does not support this form for its fused attention, so the source must not have
    that (see `export`).

    Args:
        source: the ONNX model in fp32.
        target: the file to write.
        feeds: inputs for calibration, from the training texts.
        kept_float: names of nodes that stay in floating point.
    """
    activations = target.with_name(f"activations-{target.name}")
    with _quiet():
        quantize_static(
            str(source),
            str(activations),
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=overflows(),
            nodes_to_exclude=list(kept_float),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=FLOAT | {"MatMulConstBOnly": True, "QuantizeBias": False},
        )
        quantize_dynamic(
            str(activations),
            str(target),
            op_types_to_quantize=["Gather", "EmbedLayerNormalization"],
            weight_type=QuantType.QInt8,
            extra_options=FLOAT,
        )
    activations.unlink()


def matrices(source: Path) -> list[str]:
    """Names of the nodes of a model that multiply with weights."""
    graph = onnx.load(source).graph
    weights = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}
    return [node.name for node in graph.node if node.op_type in MATRICES and weights & set(node.input)]


def most_sensitive(source: Path, feeds: Sequence[Feed], count: int, scratch: Path) -> list[str]:
    """Find the nodes whose int8 form changes the logits most. Each is measured with all others in floating point.

    Args:
        source: the ONNX model in fp32.
        feeds: inputs on which the logits are compared.
        count: number of nodes to return.
        scratch: a file that may be overwritten.
    """
    names = matrices(source)
    expected = _logits(source, feeds)
    changes = {}
    for name in names:
        quantise_dynamically(source, scratch, [other for other in names if other != name])
        changes[name] = float(np.abs(_logits(scratch, feeds) - expected).mean())
    scratch.unlink(missing_ok=True)
    return sorted(names, key=lambda name: -changes[name])[:count]


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        """The next inputs, None at the end."""
        return next(self._feeds, None)


def _logits(path: Path, feeds: Sequence[Feed]) -> npt.NDArray[np.float32]:
    session = open_session(path.read_bytes())
    return np.concatenate([session.run(["logits"], feed)[0] for feed in feeds])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the quantiser's recommendation of a preprocessing, which fused graphs do not support."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
