"""What most people write for KServe: a `Model` that calls a transformers pipeline: `plain_kserve.py FOLDER PORT`."""

import sys

FOLDER, PORT = sys.argv[1], int(sys.argv[2])
sys.argv = sys.argv[:1]  # kserve reads them when it is imported

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer  # noqa: E402
from transformers import pipeline  # noqa: E402


class TransformersModel(Model):  # type: ignore[misc]
    """Classifies texts."""

    def __init__(self) -> None:
        super().__init__("bench")
        self.pipeline = pipeline("text-classification", model=FOLDER, device="cpu")
        self.ready = True

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:  # noqa: ARG002
        """One answer for each text."""
        texts = [text.decode() if isinstance(text, bytes) else text for text in payload.inputs[0].data]
        found = self.pipeline(texts)
        labels = InferOutput("label", [len(found)], "BYTES", [item["label"] for item in found])
        scores = InferOutput("score", [len(found)], "FP32", [item["score"] for item in found])
        return InferResponse(payload.id or "none", "bench", [labels, scores])


ModelServer(http_port=PORT, enable_grpc=False).start([TransformersModel()])
