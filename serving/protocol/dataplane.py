"""KServe's data plane, with stricter readiness and with its own decoding of requests.

Readiness is true only if the model can answer and the server is not draining. A draining server still answers requests.
Bodies are decoded by their content, whatever Content-Type says.
"""

import re
from typing import Any

import orjson
from kserve import InferInput, InferRequest, ModelRepository
from kserve.errors import InvalidInput, ModelNotFound
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.infer_type import RequestedOutput

from slipway.serving.errors import Malformed, VersionNotFound
from slipway.serving.protocol.parsing import LARGE

PLATFORM = "onnx_onnxv1"  # the V2 specification's name for ONNX
MOST_ITEMS = 64
"""Most inputs, outputs or parameters of a request, and most dimensions of a shape. A model here needs fewer, and each
one costs time."""
MOST_CONTAINERS = 10_000
"""Most lists and objects in a large body. To make hundreds of thousands of Python objects stops the whole process for
a second, since the parser holds the GIL."""
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+\\?(?:"|\Z)', re.DOTALL)
"""A JSON string. It matches at every quotation mark, even without a closing one, so that the time is linear."""
SWITCHES = ("binary_data", "binary_data_output")
"""Parameters of V2's binary tensor data extension that are true or false."""


class BundleDataPlane(DataPlane):  # type: ignore[misc]  # kserve is not typed
    """The data plane of a model server for bundles."""

    def __init__(self, model_registry: ModelRepository) -> None:
        super().__init__(model_registry)
        self.draining = False
        """Set when the server stops: it is then not ready, but still answers requests."""

    async def ready(self) -> bool:
        """Whether there is a model, every model can answer, and the server is not draining."""
        models = list(self.model_registry.get_models())
        return bool(models) and all([await self.model_ready(name) for name in models])

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """Whether the model can answer.

        Args:
            model_name: the model.
            disable_predictor_health_check: True for a check on behalf of a request, which is answered even while the
                server drains. The name is kserve's.

        Raises:
            ModelNotFound: there is no such model.
        """
        ready: bool = await super().model_ready(model_name, True)
        return ready and (disable_predictor_health_check or not self.draining)

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """V2 metadata of a model, with platform and version."""
        metadata: dict[str, Any] = await super().model_metadata(model_name)
        return {**metadata, "platform": PLATFORM, "versions": self.versions(model_name)}

    def versions(self, model_name: str) -> list[str]:
        """The served version of a model. Raises ModelNotFound when there is no such model."""
        return [self.get_model_from_registry(model_name).version]

    def check_version(self, model_name: str, version: str) -> None:
        """Check that a model is served in this version; the empty version stands for any.

        Raises:
            ModelNotFound: there is no such model or version.
        """
        if self.model_registry.get_model(model_name) is None:
            raise ModelNotFound(model_name[:100])
        if version and version not in self.versions(model_name):
            raise VersionNotFound(model_name[:100], version[:100])

    def reason(self) -> str:
        """Why the server is not ready, in words that clients may read; empty if there is no reason to give."""
        if self.draining:
            return "It is shutting down."
        reasons = [getattr(model, "reason", "") for model in self.model_registry.get_models().values()]
        return " ".join(filter(None, reasons))

    def metadata(self) -> dict[str, Any]:
        """V2 metadata of the server, with the extensions that it supports."""
        metadata: dict[str, Any] = super().metadata()
        return metadata | {"extensions": ["model_repository_extension", "binary_tensor_data"]}

    def decode(
        self,
        body: Any,
        headers: dict[str, str],
        protocol_version: str = "v1",
        model_name: str | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Decode a V1 body: JSON, whatever Content-Type says, or the data of a cloud event.

        Returns:
            the decoded body, and the attributes of the cloud event, which are empty for JSON.

        Raises:
            InvalidInput: the body is not JSON, or the cloud event is not valid.
        """
        decoded: tuple[Any, dict[str, Any]]
        if isinstance(body, bytes) and not any(name.startswith("ce-") for name in headers or {}):
            decoded = self.decode_cloudevent(_json(body))
        else:
            try:
                decoded = super().decode(body, headers, protocol_version, model_name)
            except (InvalidInput, AttributeError) as error:  # kserve raises AttributeError if the body is not JSON
                raise InvalidInput("the cloud event is not as CloudEvents 1.0 specifies, or not JSON") from error
        return decoded

    def encode(
        self, model_name: str, response: Any, headers: dict[str, str], req_attributes: dict[str, Any]
    ) -> tuple[Any, dict[str, str]]:
        """Encode a V1 response: as a cloud event if the request was one, whatever its other headers say."""
        encoded: tuple[Any, dict[str, str]] = super().encode(
            model_name, response, headers if req_attributes else {}, req_attributes
        )
        return encoded


def v2_request(body: bytes, json_length: str | None, model_name: str) -> InferRequest:
    """Decode a V2 inference request.

    Args:
        body: JSON, with the binary tensors after it if there are any.
        json_length: the header Inference-Header-Content-Length; None if the whole body is JSON.
        model_name: the model in the path.

    Raises:
        InvalidInput: the body is not JSON, or its binary data does not fit the description.
        Malformed: the body is JSON, but not an inference request.
    """
    length = _length(json_length, len(body))
    content = _json(body[:length])
    fields = _mapping(content, "the request")
    request_id = fields.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise Malformed("'id' must be a string")
    binary = memoryview(body)[length:]
    inputs = []
    for item in _items(fields, "inputs"):
        tensor, binary = _tensor(item, binary)
        inputs.append(tensor)
    if binary:
        raise InvalidInput(f"{len(binary)} bytes after the last binary tensor belong to no input")
    outputs = [_output(item) for item in _items(fields, "outputs")] if fields.get("outputs") is not None else None
    return InferRequest(
        model_name=model_name,
        infer_inputs=inputs,
        request_id=request_id,
        parameters=_parameters(fields),
        request_outputs=outputs,
    )


def check_number(count: int, what: str) -> None:
    """Check that a list in a request has at most `MOST_ITEMS` items. Raises InvalidInput."""
    if count > MOST_ITEMS:
        raise InvalidInput(f"{what} has more than {MOST_ITEMS} items")


def json_object(body: bytes) -> dict[str, Any]:
    """Decode a JSON object. Raises InvalidInput if the body is not JSON, Malformed if it is another JSON value."""
    return _mapping(_json(body), "the request")


def _length(json_length: str | None, whole: int) -> int:
    if json_length is None:
        return whole
    if not (json_length.isascii() and json_length.isdigit() and len(json_length) < 12 and int(json_length) <= whole):
        raise InvalidInput("Inference-Header-Content-Length is not a length within the body")
    return int(json_length)


def _json(body: bytes) -> Any:
    # The first count is quick and includes brackets in strings; only if it is too high are the strings taken out.
    if (
        len(body) >= LARGE
        and _containers(body) > MOST_CONTAINERS
        and _containers(STRING.sub(b"", body)) > MOST_CONTAINERS
    ):
        raise InvalidInput(f"the body has more than {MOST_CONTAINERS} lists and objects")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON in UTF-8 (at byte {error.pos})") from error


def _containers(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"{what} must be a JSON object")
    return value


def _items(fields: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = fields.get(name)
    if not isinstance(items, list):
        raise Malformed(f"'{name}' is missing or not a list")
    check_number(len(items), f"'{name}'")
    return [_mapping(item, f"{name}[{index}]") for index, item in enumerate(items)]


def _parameters(fields: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a request, an input or an output: strings, numbers, true or false."""
    parameters = fields.get("parameters")
    if parameters is None:
        return {}
    check_number(len(_mapping(parameters, "'parameters'")), "'parameters'")
    for name, value in parameters.items():
        if not isinstance(value, str | int | float):  # bool is a subclass of int
            raise Malformed(f"the parameter '{name[:40]}' is neither a string nor a number nor true or false")
        if name in SWITCHES and not isinstance(value, bool):
            raise Malformed(f"the parameter '{name}' must be true or false")
    return dict(parameters)


def whole(value: Any) -> int | None:
    """A JSON number without a fraction as an integer (2 and 2.0 are the same in JSON); None for any other value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _text(fields: dict[str, Any], name: str, what: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise Malformed(f"'{name}' of {what} is missing or not a string")
    return value


def _output(fields: dict[str, Any]) -> RequestedOutput:
    return RequestedOutput(name=_text(fields, "name", "an output"), parameters=_parameters(fields))


def _tensor(fields: dict[str, Any], binary: memoryview) -> tuple[InferInput, memoryview]:
    """Decode one input; returns it, and the binary data that is left for the inputs after it."""
    name = _text(fields, "name", "an input")
    datatype = _text(fields, "datatype", f"input '{name[:40]}'")
    extents = fields.get("shape")
    shape = [whole(extent) for extent in extents[: MOST_ITEMS + 1]] if isinstance(extents, list) else [None]
    check_number(len(shape), f"'shape' of input '{name[:40]}'")
    if None in shape:
        raise Malformed(f"'shape' of input '{name[:40]}' is missing or not a list of integers")
    parameters = _parameters(fields)
    data = fields.get("data")
    if data is None:
        size = parameters.get("binary_data_size")
        if type(size) is not int:
            raise Malformed(f"input '{name[:40]}' has neither 'data' nor the parameter 'binary_data_size'")
        if not 0 <= size <= len(binary):
            raise InvalidInput(f"'binary_data_size' of input '{name[:40]}' is {size}; the body has {len(binary)} left")
        tensor = InferInput(name=name, shape=shape, datatype=datatype, data=None, parameters=parameters)
        tensor._raw_data = bytes(binary[:size])  # where kserve keeps the raw contents of gRPC; there is no public way
        return tensor, binary[size:]
    if not isinstance(data, list):
        raise Malformed(f"'data' of input '{name[:40]}' is not a list")
    return InferInput(name=name, shape=shape, datatype=datatype, data=data, parameters=parameters), binary
