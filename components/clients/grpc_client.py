"""A client of a served model over the V2 inference protocol by gRPC."""

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
"""The error for each status code of gRPC. gRPC reports UNAVAILABLE also if nothing listens."""


class GrpcClient:
    """A client over gRPC. The constructor imports kserve's messages, which takes about a second.

    Args:
        target: `host:port`.
        model: name of the model.
        key: API key or token; None for the one in the environment variable SLIPWAY_API_KEY, empty for none.
        timeout_s: time limit of one request, seconds.
        headers: gRPC metadata for every request; keys in lower case.
        tls: certificates for TLS; None for a connection without TLS.
        authority: host name of the model at a gateway; empty for the host of `target`.
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
        """Whether the model can answer; False also if nothing listens."""
        try:
            response = self._stub.ModelReady(self._messages.ModelReadyRequest(name=self.model), **self._options)
        except self._errors:
            return False
        return bool(response.ready)

    def version(self) -> str:
        """The served version of the model. Raises as `predict`."""
        try:
            metadata = self._stub.ModelMetadata(self._messages.ModelMetadataRequest(name=self.model), **self._options)
        except self._errors as error:
            raise self._refusal(error) from error
        try:
            return str(metadata.versions[0])
        except IndexError as error:
            raise SlipwayError(f"{self.endpoint} answered, but names no version of its model") from error

    def predict(self, texts: str | Iterable[str]) -> Predictions:
        """Predictions in the order of the texts. Raises as `slipway.components.clients.v2_client.Client.predict`."""
        elements = [text.encode("utf-8") for text in checked(texts)]
        contents = {"bytes_contents": elements}
        tensor = {"name": TEXT, "shape": [len(elements)], "datatype": "BYTES", "contents": contents}
        request = self._messages.ModelInferRequest(model_name=self.model, inputs=[tensor])
        try:
            response = self._stub.ModelInfer(request, **self._options)
        except self._errors as error:
            raise self._refusal(error) from error
        tensors = {output.name: output for output in response.outputs}
        try:
            return predictions(
                [label.decode("utf-8") for label in tensors["label"].contents.bytes_contents],
                list(tensors["probabilities"].contents.fp32_contents),
                tensors["probabilities"].parameters["labels"].string_param,
                response.model_version,
                response.parameters["bundle_digest"].string_param,
            )
        except UNREADABLE as error:
            raise SlipwayError(f"{self.endpoint} answered, but not as a Slipway model server ({error!r})") from error

    def _refusal(self, error: Any) -> SlipwayError:
        code = error.code().name
        return KINDS.get(code, SlipwayError)(f"{self.endpoint} answered {code}: {error.details()}")

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def v2_messages() -> tuple[Any, Any]:
    """kserve's modules with the messages and the services of V2 over gRPC. The first call takes about a second."""
    with _no_command_line():
        from kserve.protocol.grpc import grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc

    return grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc


@contextlib.contextmanager
def _no_command_line() -> Iterator[None]:
    """Hide the arguments of this program, since kserve parses the command line when it is imported."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments
