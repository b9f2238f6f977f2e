"""What a V2 request asks for besides its texts: which outputs, how many labels, explanations or not.

Parameters of the request: `top_k` (integer, 1 to the number of classes) adds the outputs `top_labels` and `top_scores`;
`explain` (true) adds `explanation`. Others are ignored, as the specification of V2 allows.
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
"""Outputs that a parameter of the request adds."""


@dataclass(frozen=True)
class Wishes:
    """The wishes of one request."""

    outputs: tuple[str, ...]
    """Names, in the order in which they are wanted."""
    top: int
    """Labels in `top_labels`, `top_scores` and `explanation`."""

    @property
    def explained(self) -> bool:
        """Whether an explanation is wanted."""
        return EXPLANATION in self.outputs


def wishes(request: InferRequest, classes: int) -> Wishes:
    """The wishes of a request. Its wish for binary outputs is made to hold where an output says nothing.

    Raises:
        InvalidInput: an output or the value of a parameter is none that there is.
    """
    parameters = to_http_parameters(request.parameters or {})
    top, explain = _top(parameters, classes), _explain(parameters)
    given = OUTPUTS + TOP * bool(top) + (EXPLANATION,) * explain
    wanted = []
    for output in request.request_outputs or ():
        if output.name not in given:
            _refuse(output.name, given)
        if output.binary_data is None and not request.from_grpc:
            output.parameters = {**(output.parameters or {}), "binary_data": request.use_binary_outputs}
        wanted.append(output.name)
    return Wishes(tuple(wanted) or given, top or 1)


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


def _refuse(name: str, given: tuple[str, ...]) -> None:
    if name in NEEDED:
        raise InvalidInput(f"the output '{name}' needs the parameter '{NEEDED[name]}'")
    raise InvalidInput(f"unknown output '{name[:40]}'; there are {', '.join(given)}")
