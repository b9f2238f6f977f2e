"""Extracts the texts of a request, V2 tensors over REST or gRPC or V1 instances, and checks them against the limits."""

from collections.abc import Mapping, Sequence
from typing import Any

from kserve import InferInput, InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import to_http_parameters

from slipway.components.clients.v2_protocol import TEXT, bytes_elements
from slipway.serving.limits import Limits
from slipway.serving.telemetry.request_record import note

PLAIN = ("str", "np", "pd", "text", "text/plain")
"""Values of the parameter `content_type` that leave texts as they are."""


def tensor_texts(request: InferRequest, limits: Limits) -> list[str]:
    """The texts of a V2 request: its BYTES tensor `text` of shape [n] or [n, 1], or its only tensor.

    Raises:
        InvalidInput: the tensor is missing, of another datatype or shape, empty, too large or not UTF-8.
    """
    note(request_id=request.id)
    tensor = _text_tensor(request.inputs)
    for parameters in (request.parameters, tensor.parameters):
        _check_content_type(to_http_parameters(parameters or {}))
    if tensor.datatype != "BYTES":
        raise InvalidInput(f"input '{tensor.name}' has datatype {tensor.datatype[:20]}; expected BYTES")
    shape = list(tensor.shape)
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]) or shape[0] < 0:
        raise InvalidInput(f"input '{tensor.name}' has shape {shape[:8]}; expected [n], n texts")
    _check_count(shape[0], limits)
    try:
        elements = _elements(tensor, shape)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"the data of input '{tensor.name}' does not fit its shape {shape}") from error
    return checked(elements, limits)


def _check_content_type(parameters: Mapping[str, Any]) -> None:
    """Refuse a `content_type` by which other servers decode elements, such as base64: it would be read as a text."""
    kind = parameters.get("content_type", "str")
    if kind not in PLAIN:
        raise InvalidInput(
            f"the content_type '{str(kind)[:40]}' is not known here; send the texts as they are, as 'str'"
        )


def _elements(tensor: InferInput, shape: Sequence[int]) -> list[Any]:
    """The elements of a tensor, as many as its shape says. Data with more elements is refused without decoding it.

    Raises:
        ValueError, TypeError: the data does not fit the shape.
    """
    raw = tensor._raw_data  # kserve has no public attribute for it
    if raw is None:
        if isinstance(tensor.data, list) and len(tensor.data) > shape[0]:
            raise ValueError("more elements")
        elements: list[Any] = tensor.as_numpy().ravel().tolist()
        return elements
    return bytes_elements(raw, shape[0])


def _text_tensor(inputs: Sequence[InferInput]) -> InferInput:
    if len(inputs) == 1:
        return inputs[0]
    expected = f"the input '{TEXT}' (BYTES, shape [n])"
    if not inputs:
        raise InvalidInput(f"{expected} is missing; got no inputs")
    names = ", ".join(tensor.name[:40] for tensor in inputs[:5])
    raise InvalidInput(f"{expected} is the only one; got {len(inputs)} inputs: {names}")


def instance_texts(payload: Any, limits: Limits) -> list[str]:
    """The texts of a V1 request, `{"instances": ["text", …]}`.

    Raises:
        InvalidInput: as for `tensor_texts`.
    """
    instances = payload.get("instances") if isinstance(payload, dict) else None
    if not isinstance(instances, list):
        raise InvalidInput('expected {"instances": ["text", …]}')
    return checked(instances, limits)


def checked(elements: list[Any], limits: Limits) -> list[str]:
    """Convert the elements to texts, and note them in the record of the request.

    Raises:
        InvalidInput: there are no elements or too many, or one is not a text, not UTF-8 or too long. The message gives
            its position.
    """
    _check_count(len(elements), limits)
    texts = []
    for index, element in enumerate(elements):
        if isinstance(element, bytes):
            try:
                element = element.decode("utf-8")
            except UnicodeDecodeError as error:
                raise InvalidInput(f"text {index} is not valid UTF-8") from error
        if not isinstance(element, str):
            raise InvalidInput(f"text {index} is a {type(element).__name__}; expected a string")
        if len(element) > limits.characters:
            raise InvalidInput(f"text {index} has {len(element)} characters; at most {limits.characters} are accepted")
        texts.append(element)
    note(texts)
    return texts


def _check_count(count: int, limits: Limits) -> None:
    if count == 0:
        raise InvalidInput("the request has no texts; expected at least 1")
    if count > limits.texts:
        raise InvalidInput(f"the request has {count} texts; at most {limits.texts} are accepted")
