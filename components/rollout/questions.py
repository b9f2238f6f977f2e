"""One text as a request of the V2 inference protocol, and the label in its answer, wherever a rollout asks."""

import json
from typing import Any

OK = 200
COMPARISON = {"x-slipway-source": "comparison"}
"""A rollout's questions are no client's: the model servers count them apart, and leave them out of drift."""


def question(text: str) -> dict[str, Any]:
    """The body of a request for one text."""
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}


def label_of(status: int, body: bytes) -> str | None:
    """The label of the one text; None when the prediction failed."""
    if status != OK:
        return None
    try:
        outputs = {output["name"]: output["data"] for output in json.loads(body)["outputs"]}
        return str(outputs["label"][0])
    except (ValueError, LookupError, TypeError):
        return None
