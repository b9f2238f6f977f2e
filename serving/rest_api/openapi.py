"""The OpenAPI document of the server, at `/openapi.json`: its paths, and their requests and responses.

The document describes the served model: it contains the name, version and classes. JSON Schema cannot express that
`shape` must fit `data`, so the descriptions state it.
"""

from importlib.metadata import version

from slipway.serving.rest_api.schemas import Schema, Served, ref, schemas

JSON, BINARY, PROMETHEUS = "application/json", "application/octet-stream", "text/plain"
REFUSALS = {
    400: "the request cannot be answered as it is",
    401: "credentials are missing or not good",
    403: "the caller may not do this, or the path has characters that no path here has",
    404: "another model, version or path",
    408: "the request did not arrive in time",
    413: "the body is too large",
    415: "the body is compressed; send it as it is",
    422: "the body is JSON of another form",
    429: "too many requests or texts at once; come back after the time in Retry-After",
    500: "the model failed on the request",
    503: "not ready, or shutting down; the reason is in the answer",
}
BODY = (400, 408, 413, 415, 422)
"""Statuses of a request with a bad body."""


def document(served: Served) -> Schema:
    """The document for a served model, in OpenAPI 3.1."""
    content: Schema = {
        "openapi": "3.1.0",
        "info": {"title": f"Slipway model server: {served.name}", "version": version("slipway")},
        "paths": _paths(served),
        "components": {"schemas": schemas(served)},
    }
    if served.secured:
        content["components"]["securitySchemes"] = {
            "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
        content["security"] = [{"key": []}, {"bearer": []}]
    return content


def _paths(served: Served) -> Schema:
    """The paths, with their operations."""
    model, of_version = "/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"
    named = [_path_parameter("model_name", served.name, "the served model")]
    versioned = [*named, _path_parameter("model_version", served.version, "the served version")]
    paths: Schema = {
        "/": _get(served, "Whether the process lives", "Alive", probe=True),
        "/metrics": {"get": _operation(served, "Metrics for Prometheus", _text(), ())},
        "/openapi.json": {"get": _operation(served, "This document", {JSON: {"schema": {"type": "object"}}}, ())},
        "/v2": _get(served, "Name, version and extensions of the server", "ServerMetadata"),
        "/v2/health/live": _get(served, "Whether the process lives", "Live", probe=True),
        "/v2/health/ready": _get(served, "Whether requests can be answered", "Ready", (503,), probe=True),
        "/v2/models": _get(served, "Names of the models", "Models"),
        "/v1/models": _get(served, "Names of the models", "Models"),
        "/v1/models/{model_name}": _get(served, "Readiness in V1", "ModelReady", (404, 503), named, probe=True),
        "/v1/models/{model_name}:predict": _v1(served, "Labels of texts", "Predictions", named),
        "/v1/models/{model_name}:explain": _v1(served, "Which words speak for the label", "Explanations", named),
        "/v2/repository/index": {"post": _index(served)},
    }
    for path, parameters in ((model, named), (of_version, versioned)):
        paths[path] = _get(served, "Inputs and outputs of the model", "ModelMetadata", (404,), parameters)
        ready = _get(served, "Whether the model can answer", "ModelReady", (404, 503), parameters, probe=True)
        paths[f"{path}/ready"] = ready
        paths[f"{path}/infer"] = {"post": _infer(served), "parameters": parameters}
    for verb in ("load", "unload"):
        operation = _operation(served, f"{verb.capitalize()} the model", _json(verb.capitalize()), (404, 503))
        operation["responses"] |= _refusals((401,))
        paths[f"/v2/repository/models/{{model_name}}/{verb}"] = {"post": operation, "parameters": named}
    for path, item in paths.items():  # a name in a path may have characters that the access checks refuse with 403
        for verb in set(item) - {"parameters"} if "{" in path else ():
            item[verb]["responses"] |= _refusals((403,))
    return paths


def _get(
    served: Served,
    summary: str,
    schema: str,
    refusals: tuple[int, ...] = (),
    parameters: list[Schema] | None = None,
    probe: bool = False,
) -> Schema:
    operation = _operation(served, summary, _json(schema), refusals, probe)
    return {"get": operation} | ({"parameters": parameters} if parameters else {})


def _operation(served: Served, summary: str, content: Schema, refusals: tuple[int, ...], probe: bool = False) -> Schema:
    """One operation; a probe needs no credentials."""
    access_refusals = (401, 403, 429) if served.secured and not probe else ()
    operation = {
        "summary": summary,
        "responses": {"200": {"description": "done", "content": content}} | _refusals((*refusals, *access_refusals)),
    }
    return operation | ({"security": []} if probe and served.secured else {})


def _refusals(codes: tuple[int, ...]) -> Schema:
    retry = {"Retry-After": {"description": "seconds", "schema": {"type": "integer", "minimum": 0}}}
    return {
        str(code): {"description": REFUSALS[code], "content": _json("Error")}
        | ({"headers": retry} if code in (429, 503) else {})
        for code in sorted(set(codes))
    }


def _infer(served: Served) -> Schema:
    operation = _operation(served, "Labels of texts", _json("InferenceResponse"), (*BODY, 404, 429, 500, 503))
    head = {"description": "length of the JSON before the binary tensors", "schema": {"type": "integer"}}
    operation["responses"]["200"]["content"][BINARY] = {"schema": {"type": "string", "format": "binary"}}
    operation["responses"]["200"]["headers"] = {"Inference-Header-Content-Length": head}
    operation["requestBody"] = {
        "required": True,
        "description": "JSON; or JSON whose length the header Inference-Header-Content-Length states, then the binary "
        "tensors that it describes by `binary_data_size` (V2's binary tensor data extension). Content-Type is ignored.",
        "content": {JSON: {"schema": ref("InferenceRequest")}},
    }
    return operation


def _v1(served: Served, summary: str, schema: str, parameters: list[Schema]) -> Schema:
    operation = _operation(served, summary, _json(schema), (*BODY, 404, 429, 500, 503))
    request = "ExplanationInstances" if schema == "Explanations" else "Instances"
    operation["requestBody"] = {"required": True, "content": _json(request)}
    return {"post": operation, "parameters": parameters}


def _index(served: Served) -> Schema:
    operation = _operation(served, "The models and their states", _json("Index"), BODY)
    schema = {"type": "object", "properties": {"ready": {"type": "boolean", "description": "only those that are"}}}
    operation["requestBody"] = {"required": False, "content": {JSON: {"schema": schema}}}
    return operation


def _json(schema: str) -> Schema:
    return {JSON: {"schema": ref(schema)}}


def _text() -> Schema:
    return {PROMETHEUS: {"schema": {"type": "string"}}}


def _path_parameter(name: str, value: str, meaning: str) -> Schema:
    schema: Schema = {"type": "string", "enum": [value]} if value else {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": meaning, "schema": schema}
