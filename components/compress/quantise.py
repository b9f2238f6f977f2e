"""int8 variants of ONNX models."""

import logging
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic


def quantise_dynamically(source: Path, target: Path) -> None:
    """Write the model with weights in int8, a scale for each output channel, and activations quantised as they come.

    The embedding tables become int8 as well, with one scale: they are more than half of a small model. The
    quantiser meets fused operators whose output types it cannot infer; all floating-point values here are float32.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a preparation that fused graphs do not take
    try:
        quantize_dynamic(
            str(source),
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT, "MatMulConstBOnly": True},
        )
    finally:
        root.setLevel(level)
