"""The JSON Schemas of the server's requests and responses, for its OpenAPI document."""

from dataclasses import dataclass
from typing import Any

from slipway.serving.limits import Limits
from slipway.serving.protocol.request_parameters import EXPLANATION, OUTPUTS, TOP

Schema = dict[str, Any]


@dataclass(frozen=True)
class Served:
    """The facts about a server that its OpenAPI document contains."""

    name: str
    version: str
    labels: tuple[str, ...]
    """Empty while no model is loaded."""
    limits: Limits
    secured: bool
    """Whether callers need credentials."""


def schemas(served: Served) -> Schema:
    """The schemas of all requests and responses, by name."""
    text = {"type": "string", "maxLength": served.limits.characters}
    explained = {"items": text, "type": "array", "minItems": 1, "maxItems": served.limits.explained_texts}
    string: Schema = {"type": "string"}
    label = {"type": "string", "enum": list(served.labels)} if served.labels else string
    share = {"type": "number", "minimum": 0, "maximum": 1}
    return {
        "Error": _object({"error": string}),
        "Alive": _object({"status": {"const": "alive"}}),
        "Live": _object({"live": {"const": True}}),
        "Ready": _object({"ready": {"const": True}}),
        "Models": _object({"models": _list(string)}),
        "ModelReady": _object({"name": string, "ready": {"const": True}}),
        "ServerMetadata": _object({"name": string, "version": string, "extensions": _list(string)}),
        "ModelMetadata": _object(
            {
                "name": string,
                "versions": _list(string),
                "platform": string,
                "inputs": _list(ref("MetadataTensor")),
                "outputs": _list(ref("MetadataTensor")),
            }
        ),
        "MetadataTensor": _object({"name": string, "datatype": string, "shape": _list({"type": "integer"})}),
        "Index": _list(
            _object({"name": string, "version": string, "state": {"enum": ["READY", "UNAVAILABLE"]}, "reason": string})
        ),
        "Load": _object({"name": string, "load": {"const": True}}),
        "Unload": _object({"name": string, "unload": {"const": True}}),
        "Instances": _object({"instances": explained | {"maxItems": served.limits.texts}}),
        "ExplanationInstances": _object({"instances": explained}),
        "Predictions": _object(
            {
                "predictions": _list(
                    _object(
                        {
                            "label": label,
                            "score": share,
                            "probabilities": {"type": "object", "additionalProperties": share},
                        }
                    )
                )
            }
        ),
        "Explanations": _object({"explanations": _list(_explanation(label, share))}),
        "InferenceRequest": _request(served, text),
        "InferenceResponse": _response(),
    }


def _request(served: Served, text: Schema) -> Schema:
    """A V2 inference request. Optional members may be null too, since some clients send them so."""
    value = {"type": ["string", "number", "boolean"]}
    parameters = {"type": ["object", "null"], "additionalProperties": value}
    max_texts = served.limits.texts
    top = {"type": "integer", "minimum": 1, "maximum": max(1, len(served.labels))}
    request_parameters = parameters | {
        "properties": {
            "top_k": top | {"description": f"adds the outputs {' and '.join(TOP)}, of shape [n, top_k]"},
            "explain": {
                "type": "boolean",
                "description": f"adds the output {EXPLANATION}, of shape [n, top_k or 1]: a JSON object for each "
                f"label, as in V1; for at most {served.limits.explained_texts} texts",
            },
            "binary_data_output": {"type": "boolean", "description": "all outputs as binary tensors"},
        }
    }
    tensor = _object(
        {
            "name": {"type": "string", "description": "`text`, or any other"},
            "shape": {
                "type": "array",
                "description": "[n] or [n, 1], for n texts",
                "prefixItems": [{"type": "integer", "minimum": 1, "maximum": max_texts}, {"const": 1}],
                "minItems": 1,
                "maxItems": 2,
            },
            "datatype": {"const": "BYTES"},
            "data": {"type": "array", "items": text, "minItems": 1, "maxItems": max_texts, "description": "n texts"},
        }
    )
    tensor["properties"]["parameters"] = parameters
    output = _object({"name": {"enum": [*OUTPUTS, *TOP, EXPLANATION]}})
    output["properties"]["parameters"] = parameters | {"properties": {"binary_data": {"type": "boolean"}}}
    request = _object({"inputs": {"type": "array", "items": tensor, "minItems": 1, "maxItems": 1}})
    outputs = _list(output) | {"type": ["array", "null"]}
    request["properties"] |= {"id": {"type": ["string", "null"]}, "parameters": request_parameters, "outputs": outputs}
    example = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["my parcel never came"]}]}
    return request | {"examples": [example]}


def _response() -> Schema:
    parameters = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
    extents = _list({"type": "integer", "minimum": 0})
    output = _object(
        {
            "name": {"enum": [*OUTPUTS, *TOP, EXPLANATION]},
            "shape": extents,
            "datatype": {"enum": ["BYTES", "FP32"]},
        }
    )
    output["properties"] |= {"data": _list({"type": ["string", "number"]}), "parameters": parameters}
    response = _object(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": _list(output),
        }
    )
    response["properties"]["parameters"] = parameters
    return response


def _explanation(label: Schema, share: Schema) -> Schema:
    """An explanation. `attributions` sum to `logit` minus `baseline`; see `slipway.components.explanation.shapley`."""
    number: Schema = {"type": "number"}
    return _object(
        {
            "label": label,
            "score": share,
            "words": _list({"type": "string"}),
            "attributions": _list(number) | {"description": "what each word adds to the logit of the label"},
            "errors": _list({"type": ["number", "null"]}) | {"description": "their standard errors"},
            "logit": number,
            "baseline": number | {"description": "the logit with every word masked"},
            "inferences": {"type": "integer"},
            "cut": {"type": "boolean", "description": "whether the text goes on, beyond what the model reads"},
        }
    )


def _object(properties: Schema) -> Schema:
    """An object whose properties are all required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    """A reference to one of `schemas`."""
    return {"$ref": f"#/components/schemas/{name}"}
