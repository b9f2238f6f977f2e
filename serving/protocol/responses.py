"""Encodes probabilities and explanations as responses: tensors in V2, JSON objects in V1."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from kserve import InferOutput, InferRequest, InferResponse

from slipway.components.artifacts.onnx_classifier import Floats
from slipway.components.explanation.shapley import Explanation
from slipway.serving.protocol.request_parameters import EXPLANATION, RequestParameters


class Results:
    """The results for the texts of one request.

    Args:
        labels: names of the classes.
        probabilities: shape (texts, classes).
        explanations: one for each text; None if the request asks for none.
    """

    def __init__(
        self, labels: Sequence[str], probabilities: Floats, explanations: Sequence[Explanation] | None = None
    ) -> None:
        self._labels = np.array(labels, dtype=object)
        self._probabilities = probabilities
        self._explanations = explanations
        self._ranking = np.argsort(-probabilities, axis=1, kind="stable")

    def predictions(self) -> list[dict[str, Any]]:
        """Results in V1: for each text the label, its score and the probability of every label."""
        return [
            {
                "label": self._labels[ranks[0]],
                "score": float(row[ranks[0]]),
                "probabilities": dict(zip(self._labels, map(float, row), strict=True)),
            }
            for ranks, row in zip(self._ranking, self._probabilities, strict=True)
        ]

    def explained(self, top: int = 1) -> list[list[dict[str, Any]]]:
        """The explanations of the `top` most probable labels of each text, best first; `score` is the probability."""
        results = zip(self._explanations or (), self._ranking, self._probabilities, strict=True)
        return [
            [explanation.to_json(int(rank), self._labels[rank]) | {"score": float(row[rank])} for rank in ranks[:top]]
            for explanation, ranks, row in results
        ]

    def response(
        self, request: InferRequest, parameters: RequestParameters, name: str, version: str, digest: str
    ) -> InferResponse:
        """The V2 response, with the tensors that the request asks for."""
        return InferResponse(
            response_id=request.id or str(uuid.uuid4()),
            model_name=name,
            model_version=version,
            infer_outputs=[self._output(output, parameters.top, request) for output in parameters.outputs],
            parameters={"bundle_digest": digest},
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs or None,
        )

    def _values(self, output: str, top: int) -> npt.NDArray[Any]:
        best = self._ranking[:, :top]
        if output == EXPLANATION:
            rows = [[json.dumps(explanation, ensure_ascii=False) for explanation in row] for row in self.explained(top)]
            return np.array(rows, dtype=object)
        if output.startswith("top_"):
            scores = np.take_along_axis(self._probabilities, best, axis=1)
            return self._labels[best] if output == "top_labels" else scores
        if output == "probabilities":
            return self._probabilities
        first = self._ranking[:, 0]
        return self._labels[first] if output == "label" else self._probabilities[np.arange(len(first)), first]

    def _output(self, name: str, top: int, request: InferRequest) -> InferOutput:
        """One tensor. `probabilities` has a parameter with the class names of its columns, as a JSON list."""
        values = self._values(name, top)
        labels = {"labels": json.dumps(self._labels.tolist(), ensure_ascii=False)}
        output = InferOutput(
            name,
            list(values.shape),
            "BYTES" if values.dtype == object else "FP32",
            parameters=labels if name == "probabilities" else None,
        )
        if not request.from_grpc:
            output.data = values  # kserve encodes an array as JSON or binary, by what the request asks for
        elif request.use_binary_outputs:
            output.set_data_from_numpy(values)
        else:
            output.data = values.ravel().tolist()  # typed contents, since the request has them and not raw contents
        return output
