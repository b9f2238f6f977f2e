"""A bundle as a KServe model: it answers V2 and V1 requests with label, score and the probabilities of all classes."""

from collections.abc import Sequence
from typing import Any

from kserve import InferRequest, InferResponse, Model
from kserve.model import InferenceVerb

from slipway.components.clients.v2_protocol import TEXT
from slipway.serving.access.caller import Scope, charge, current_caller
from slipway.serving.errors import Forbidden
from slipway.serving.limits import Limits
from slipway.serving.model.batcher import Batcher
from slipway.serving.model.explainer import Explainer
from slipway.serving.model.sessions import Engine
from slipway.serving.protocol.request_parameters import request_parameters
from slipway.serving.protocol.request_texts import instance_texts, tensor_texts
from slipway.serving.protocol.responses import Results
from slipway.serving.telemetry.drift import Drift
from slipway.serving.telemetry.metrics import ModelMetrics
from slipway.serving.telemetry.request_record import note


class BundleModel(Model):  # type: ignore[misc]  # kserve is not typed
    """The one model of a server.

    Args:
        name: the model's name in the protocols' paths.
        engine: an opened bundle, verified by the caller.
        digest: the bundle's digest; every V2 response carries it.
        version: the model version that responses and metadata state.
        limits: limits of the server.
    """

    def __init__(self, name: str, engine: Engine, digest: str, version: str, limits: Limits) -> None:
        super().__init__(name)
        classifier = engine.classifier
        self.metrics = ModelMetrics(name, version, digest)
        self.drift = Drift(classifier, self.metrics)
        self.batcher = Batcher(classifier, limits, self.metrics, self.drift, engine.streams, engine.wide)
        self.explainer = Explainer(self.batcher, limits)
        self.labels = classifier.labels
        self.digest = digest
        self.version = version
        self.limits = limits

    def load(self) -> bool:
        """Make the model ready, after it has answered test requests of several shapes.

        Raises:
            InferenceFailed: it could not answer one.
        """
        self.batcher.warm_up()
        self.ready = True
        return True

    def start(self) -> None:
        """Called by kserve. The base class would set the model ready, which only `load` may do."""

    def get_input_types(self) -> list[dict[str, Any]]:
        """Inputs for the V2 metadata."""
        return [{"name": TEXT, "datatype": "BYTES", "shape": [-1]}]

    def get_output_types(self) -> list[dict[str, Any]]:
        """Outputs for the V2 metadata: those of a request that asks for no output by name."""
        return [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(self.labels)]},
        ]

    async def __call__(
        self,
        body: InferRequest | dict[str, Any],
        headers: dict[str, str] | None = None,
        verb: InferenceVerb = InferenceVerb.PREDICT,
    ) -> tuple[InferResponse | dict[str, Any], dict[str, str]]:
        """Answer a request, without kserve's stages before and after, which have no use here. Raises as `predict`."""
        operation = self.explain if verb == InferenceVerb.EXPLAIN else self.predict
        return await operation(body, headers), {}

    async def predict(
        self,
        payload: InferRequest | dict[str, Any],
        headers: dict[str, str] | None = None,  # noqa: ARG002  # kserve's signature
    ) -> InferResponse | dict[str, Any]:
        """Answer a V2 request, or a V1 request given as a dict.

        Raises:
            InvalidInput, Forbidden, Overloaded, InferenceFailed: see `slipway.serving.errors`.
        """
        if not isinstance(payload, InferRequest):
            results = await self._results(instance_texts(payload, self.limits))
            return {"predictions": results.predictions()}
        parameters = request_parameters(payload, len(self.labels))
        texts = tensor_texts(payload, self.limits)
        if parameters.explained:
            note(method="explain")
        # The access checks saw the path of an inference, before the body was decoded, so they required only `predict`.
        if parameters.explained and Scope.EXPLAIN not in current_caller().scopes:
            raise Forbidden(f"'{current_caller().name[:100]}' lacks the scope for explanations: explain", Scope.EXPLAIN)
        results = await self._results(texts, parameters.explained)
        return results.response(payload, parameters, self.name, self.version, self.digest)

    async def explain(
        self,
        payload: dict[str, Any],
        headers: dict[str, str] | None = None,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Answer a V1 request with the explanation of the most probable label of each text. Raises as `predict`."""
        results = await self._results(instance_texts(payload, self.limits), explained=True)
        return {"explanations": [labels[0] for labels in results.explained()]}

    async def _results(self, texts: Sequence[str], explained: bool = False) -> Results:
        charge(texts=len(texts), inferences=len(texts) - 1)
        explanations = await self.explainer.explain(texts) if explained else None
        return Results(self.labels, await self.batcher.probabilities(texts), explanations)
