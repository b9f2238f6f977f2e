"""int8 variants of ONNX models: weights of fixed scales, activations of scales found as they come or beforehand."""

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
"""Operators whose int8 form is faster; the rest is small."""
FLOAT = {"DefaultTensorType": onnx.TensorProto.FLOAT}
"""Fused operators have output types that the quantiser cannot infer; all floating-point values here are float32."""


@lru_cache(maxsize=1)
def overflows() -> bool:
    """Whether sums of int8 products overflow on this machine, so that weights must keep to 7 bits.

    An x86 processor without VNNI adds two products of unsigned and signed bytes in 16 bits, which saturate (ONNX
    Runtime's guide to quantisation, on `reduce_range`). A bundle with 7 bits is right everywhere; one that was made
    where nothing overflows may lose quality where sums do.
    """
    try:
        flags = CPU.read_text("ascii").split()
    except OSError:  # no Linux
        return False
    return platform.machine() == "x86_64" and not any(flag.endswith("_vnni") for flag in flags)


def quantise_dynamically(source: Path, target: Path, kept_float: Sequence[str] = ()) -> None:
    """Write the model with weights in int8, a scale for each output channel, and activations quantised as they come.

    The embedding tables become int8 as well, with one scale: they are more than half of a small model.

    Args:
        source: the ONNX model in fp32.
        target: the file to be written.
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
    """Write the model with weights and activations in int8, whose scales were found on `feeds`.

    Weights have a scale for each output channel; activations are unsigned and have one each, from the least to the
    greatest value seen. Embedding tables are int8 with weight only. The matrix products are written in ONNX's own
    form (operators that quantise and dequantise around each), which ONNX Runtime turns into int8 kernels when it
    loads the model; it knows no such form of its fused attention, so the source should be without (see `export`).

    Args:
        source: the ONNX model in fp32.
        target: the file to be written.
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
    """The nodes whose int8 form moves the logits most, measured one by one with all others in floating point.

    Args:
        source: the ONNX model in fp32.
        feeds: inputs on which the logits are compared.
        count: how many.
        scratch: a file that may be overwritten.
    """
    names = matrices(source)
    wanted = _logits(source, feeds)
    moved = {}
    for name in names:
        quantise_dynamically(source, scratch, [other for other in names if other != name])
        moved[name] = float(np.abs(_logits(scratch, feeds) - wanted).mean())
    scratch.unlink(missing_ok=True)
    return sorted(names, key=lambda name: -moved[name])[:count]


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
    """Without the recommendation of a preparation that fused graphs do not take."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
