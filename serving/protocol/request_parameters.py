"""The parameters of a V2 request: which outputs it asks for, how many labels, and whether with explanations.

The parameter `top_k` (integer, 1 to the number of classes) adds the outputs `top_labels` and `top_scores`. The
parameter `explain` (true) adds `explanation`. Others are ignored, as the V2 specification allows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kserve import InferRequest
from kserve.errors import InvalidInput
from kserve.protocol.infer_type import to_http_parameters

from slipway.serving.protocol.dataplane import whole

OUTPUTS = ("label", "score", "probabilities")
TOP = ("top_labels", "top_scores")
EXPLANATION = "explanation"
NEEDED = dict.fromkeys(TOP, "top_k") | {EXPLANATION: "explain"}
"""The parameter of the request that each of these outputs needs."""


@dataclass(frozen=True)
class RequestParameters:
    """What one request asks for."""

    outputs: tuple[str, ...]
    """Names of the outputs, in the order of the request."""
    top: int
    """Number of labels for each text in `top_labels`, `top_scores` and `explanation`."""

    @property
    def explained(self) -> bool:
        """Whether the request asks for explanations."""
        return EXPLANATION in self.outputs


def request_parameters(request: InferRequest, classes: int) -> RequestParameters:
    """Read what a request asks for.

    It also sets `binary_data` of every requested output that does not state it to the request's `binary_data_output`:
    kserve ignores that of the request when outputs are requested by name.

    Args:
        request: the request; its outputs are changed.
        classes: number of classes of the model.

    Raises:
        InvalidInput: an output is unknown, or a parameter has a bad value.
    """
    parameters = to_http_parameters(request.parameters or {})
    top, explain = _top(parameters, classes), _explain(parameters)
    available = OUTPUTS + TOP * bool(top) + (EXPLANATION,) * explain
    requested = []
    for output in request.request_outputs or ():
        if output.name not in available:
            _refuse(output.name, available)
        if output.binary_data is None and not request.from_grpc:
            output.parameters = {**(output.parameters or {}), "binary_data": request.use_binary_outputs}
        requested.append(output.name)
    return RequestParameters(tuple(requested) or available, top or 1)


def _top(parameters: Mapping[str, Any], classes: int) -> int:
    if "top_k" not in parameters:
        return 0
    top = whole(parameters["top_k"])
    if top is None or not 1 <= top <= classes:
        raise InvalidInput(f"the parameter 'top_k' must be an integer from 1 to {classes}")
    return top


def _explain(parameters: Mapping[str, Any]) -> bool:
    explain = parameters.get("explain", False)
    if not isinstance(explain, bool):
        raise InvalidInput("the parameter 'explain' must be true or false")
    return explain


def _refuse(name: str, available: tuple[str, ...]) -> None:
    if name in NEEDED:
        raise InvalidInput(f"the output '{name}' needs the parameter '{NEEDED[name]}'")
    raise InvalidInput(f"unknown output '{name[:40]}'; there are {', '.join(available)}")
