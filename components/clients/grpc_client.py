"""Client of a served model over the V2 inference protocol by gRPC."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from slipway.components.clients.credentials import Tls, api_key, bearer
from slipway.components.clients.v2_protocol import TEXT, UNREADABLE, Predictions, checked, predictions
from slipway.components.errors import AccessRefused, BadInput, ModelNotFound, NoAnswer, SlipwayError, Unavailable

KINDS: dict[str, type[SlipwayError]] = {
    "INVALID_ARGUMENT": BadInput,
    "UNAUTHENTICATED": AccessRefused,
    "PERMISSION_DENIED": AccessRefused,
    "NOT_FOUND": ModelNotFound,
    "DEADLINE_EXCEEDED": NoAnswer,
    "UNAVAILABLE": Unavailable,
    "RESOURCE_EXHAUSTED": Unavailable,
}
"""What the codes of gRPC mean. UNAVAILABLE is also what gRPC says where nothing listens."""


class GrpcClient:
    """Asks over gRPC. The import of kserve's messages at construction takes about a second.

    Args:
        target: `host:port`.
        model: name of the model.
        key: API key or token; None for that of the environment variable SLIPWAY_API_KEY, empty for none.
        timeout_s: seconds that one request may take.
        headers: gRPC metadata sent with every request; keys in lower case.
        tls: None for a connection in clear.
        authority: the host that a gateway knows the model by, where it is not that of `target`.
    """

    def __init__(
        self,
        target: str,
        *,
        model: str,
        key: str | None = None,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        authority: str = "",
    ) -> None:
        import grpc

        metadata = bearer(api_key() if key is None else key) | dict(headers or {})
        options = [("grpc.default_authority", authority)] if authority else []
        self._errors = grpc.RpcError
        self._messages, services = v2_messages()
        self._channel = (
            grpc.secure_channel(target, tls.channel_credentials(), options)
            if tls
            else grpc.insecure_channel(target, options)
        )
        self._stub = services.GRPCInferenceServiceStub(self._channel)
        self._options = {"timeout": timeout_s, "metadata": tuple(metadata.items())}
        self.endpoint = f"grpc://{target}/{model}"
        self.model = model

    def ready(self) -> bool:
        """Whether the model can answer; False also when nothing listens."""
        try:
            answer = self._stub.ModelReady(self._messages.ModelReadyRequest(name=self.model), **self._options)
        except self._errors:
            return False
        return bool(answer.ready)

    def version(self) -> str:
        """The version of the model that answers. Raises as `predict`."""
        try:
            found = self._stub.ModelMetadata(self._messages.ModelMetadataRequest(name=self.model), **self._options)
        except self._errors as error:
            raise self._refusal(error) from error
        try:
            return str(found.versions[0])
        except IndexError as error:
            raise SlipwayError(f"{self.endpoint} answered, but names no version of its model") from error

    def predict(self, texts: str | Iterable[str]) -> Predictions:
        """Predictions in the order of the texts. Raises as `slipway.components.clients.v2_client.Client.predict`."""
        elements = [text.encode("utf-8") for text in checked(texts)]
        contents = {"bytes_contents": elements}
        tensor = {"name": TEXT, "shape": [len(elements)], "datatype": "BYTES", "contents": contents}
        request = self._messages.ModelInferRequest(model_name=self.model, inputs=[tensor])
        try:
            answer = self._stub.ModelInfer(request, **self._options)
        except self._errors as error:
            raise self._refusal(error) from error
        tensors = {output.name: output for output in answer.outputs}
        try:
            return predictions(
                [label.decode("utf-8") for label in tensors["label"].contents.bytes_contents],
                list(tensors["probabilities"].contents.fp32_contents),
                tensors["probabilities"].parameters["labels"].string_param,
                answer.model_version,
                answer.parameters["bundle_digest"].string_param,
            )
        except UNREADABLE as error:
            raise SlipwayError(f"{self.endpoint} answered, but not as a Slipway model server ({error!r})") from error

    def _refusal(self, error: Any) -> SlipwayError:
        code = error.code().name
        return KINDS.get(code, SlipwayError)(f"{self.endpoint} answered {code}: {error.details()}")

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def v2_messages() -> tuple[Any, Any]:
    """kserve's modules of the V2 protocol over gRPC: messages and services. The first call takes seconds."""
    with _no_command_line():
        from kserve.protocol.grpc import grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc

    return grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc


@contextlib.contextmanager
def _no_command_line() -> Iterator[None]:
    """Hide the arguments of this program: kserve takes them for its own when it is imported."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments
