"""What NNCF's post-training quantisation makes of a model, under OpenVINO. Needs the packages openvino and nncf."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compression.contestants import Contestant
from slipway.components.artifacts.bundle import MODEL
from slipway.components.artifacts.onnx_classifier import Classifier, Encoded, Floats, padded
from slipway.components.compress.quantise import Feed


class OpenVinoClassifier(Classifier):
    """A bundle whose model is run by OpenVINO.

    Args:
        bundle: with the tokenizer.
        model: the OpenVINO model (.xml).
        threads: of one inference.
        streams: inferences at the same time.
    """

    def __init__(self, bundle: Path, model: Path, threads: int, streams: int = 1) -> None:
        import openvino

        super().__init__(bundle, 1)
        options = {
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._compiled: Any = openvino.Core().compile_model(str(model), "CPU", options)
        self._requests = threading.local()

    def run(self, encodings: Sequence[Encoded]) -> Floats:
        """Logits of one batch of encoded texts, padded to the longest."""
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        answer = self._requests.own.infer(padded(encodings, self.bundle.info.padding_id))
        return np.array(next(iter(answer.values())), dtype=np.float32)


def quantised(source: Contestant, name: str, feeds: list[Feed]) -> Contestant:
    """A contestant made by NNCF's post-training quantisation with its settings for transformers."""
    import nncf
    import openvino

    path = source.folder / "nncf.xml"
    if path.exists():
        return Contestant("instead", name, source.folder, path)
    model = openvino.convert_model(str(source.folder / MODEL))
    made = nncf.quantize(model, nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(feeds))
    openvino.save_model(made, str(path), compress_to_fp16=False)
    return Contestant("instead", name, source.folder, path)


def converted(source: Contestant, name: str) -> Contestant:
    """The same model in FP32 under OpenVINO."""
    import openvino

    path = source.folder / "openvino.xml"
    openvino.save_model(openvino.convert_model(str(source.folder / MODEL)), str(path), compress_to_fp16=False)
    return Contestant("instead", name, source.folder, path)
