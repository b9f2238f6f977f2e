"""A bundle as a KServe model: V2 and V1 requests in, label, score and probabilities of every class out."""

import json
import uuid
from typing import Any

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model
from kserve.errors import InvalidInput

from components.classifier import Classifier, Floats
from serving.batcher import Batcher
from serving.limits import Limits
from serving.metrics import ModelMetrics
from serving.texts import TEXT, instance_texts, tensor_texts

OUTPUTS = ("label", "score", "probabilities")


class BundleModel(Model):  # type: ignore[misc]  # kserve is not typed
    """The one model of a server.

    Args:
        name: the model's name in the protocols' paths.
        classifier: an opened bundle, verified by the caller.
        digest: the bundle's digest; every V2 response carries it.
        version: the model version that responses and metadata state.
        limits: what the server accepts.
    """

    def __init__(self, name: str, classifier: Classifier, digest: str, version: str, limits: Limits) -> None:
        super().__init__(name)
        self.batcher = Batcher(classifier, limits)
        self.labels = np.array(classifier.labels, dtype=object)
        self.digest = digest
        self.version = version
        self.limits = limits
        self.metrics = ModelMetrics(name, version, digest)

    def load(self) -> bool:
        """Make the model ready: it has answered requests of several shapes.

        Raises:
            InferenceFailed: it could not.
        """
        self.batcher.warm_up()
        self.ready = True
        return True

    def start(self) -> None:
        """Called by kserve; readiness is decided by `load` alone."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs for the V2 metadata."""
        return [{"name": TEXT, "datatype": "BYTES", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs for the V2 metadata."""
        return [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(self.labels)]},
        ]

    async def predict(
        self,
        payload: InferRequest | dict[str, Any],
        headers: dict[str, str] | None = None,  # noqa: ARG002  # kserve's signature
        response_headers: dict[str, str] | None = None,  # noqa: ARG002
    ) -> InferResponse | dict[str, Any]:
        """Answer a V2 request, or a V1 request given as a dict.

        Raises:
            InvalidInput, Overloaded, InferenceFailed: see `serving.errors`.
        """
        if isinstance(payload, InferRequest):
            _check_requested(payload)
            probabilities = await self.batcher.probabilities(tensor_texts(payload, self.limits))
            return self._response(payload, probabilities)
        return {
            "predictions": self._predictions(await self.batcher.probabilities(instance_texts(payload, self.limits)))
        }

    async def explain(
        self,
        payload: Any,  # noqa: ARG002
        headers: dict[str, str] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Explanations are not served."""
        raise NotImplementedError("this server does not explain")

    def _predictions(self, probabilities: Floats) -> list[dict[str, Any]]:
        best = probabilities.argmax(axis=1)
        return [
            {
                "label": self.labels[index],
                "score": float(row[index]),
                "probabilities": dict(zip(self.labels, map(float, row), strict=True)),
            }
            for index, row in zip(best, probabilities, strict=True)
        ]

    def _response(self, request: InferRequest, probabilities: Floats) -> InferResponse:
        best = probabilities.argmax(axis=1)
        tensors = {
            "label": (self.labels[best], "BYTES"),
            "score": (probabilities[np.arange(len(best)), best], "FP32"),
            "probabilities": (probabilities, "FP32"),
        }
        wanted = [output.name for output in request.request_outputs or ()] or OUTPUTS
        return InferResponse(
            response_id=request.id or str(uuid.uuid4()),
            model_name=self.name,
            model_version=self.version,
            infer_outputs=[self._output(name, *tensors[name], request) for name in wanted],
            parameters={"bundle_digest": self.digest},
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=request.request_outputs or None,
        )

    def _output(self, name: str, values: Any, datatype: str, request: InferRequest) -> InferOutput:
        """One output tensor; `probabilities` carries the class names of its columns as a JSON list."""
        labels = {"labels": json.dumps(self.labels.tolist(), ensure_ascii=False)}
        output = InferOutput(name, list(values.shape), datatype, parameters=labels if name == "probabilities" else None)
        if not request.from_grpc:
            output.data = values  # kserve encodes arrays as JSON or binary, as the request asks for
        elif request.use_binary_outputs:
            output.set_data_from_numpy(values)
        else:
            output.data = values.ravel().tolist()  # typed contents, as in the request
        return output


def _check_requested(request: InferRequest) -> None:
    """Refuse an unknown output, and let the request's wish for binary outputs hold where an output says nothing."""
    for output in request.request_outputs or ():
        if output.name not in OUTPUTS:
            raise InvalidInput(f"unknown output '{output.name[:40]}'; there are {', '.join(OUTPUTS)}")
        if output.binary_data is None and not request.from_grpc:
            output.parameters = {**(output.parameters or {}), "binary_data": request.use_binary_outputs}
