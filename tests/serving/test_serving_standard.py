"""What the V2 specification says beyond an inference: versions, the repository's index, errors, one true document."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from slipway.serving.limits import Limits
from slipway.serving.rest_api.endpoints import Endpoints
from slipway.serving.rest_api.openapi import document
from slipway.serving.rest_api.schemas import Served
from tests.serving.conftest import Server, Start

TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["late parcel"]}


@pytest.fixture(scope="module")
def version(server: Server) -> str:
    found: str = server.infer("hello").json()["model_version"]
    return found


def test_versioned_paths_answer_for_the_served_version(server: Server, version: str) -> None:
    url = f"{server.model_url}/versions/{version}"
    assert httpx.get(url).json() == httpx.get(server.model_url).json()
    assert httpx.get(f"{url}/ready").json() == {"name": "messages", "ready": True}
    answer = httpx.post(f"{url}/infer", json={"inputs": [TENSOR]}).json()
    assert (answer["model_version"], answer["outputs"][0]["data"]) == (version, ["delivery"])


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/ready"), ("POST", "/infer")])
@pytest.mark.parametrize("other", ["1", "x" * 500, "%20"])
def test_another_version_is_not_found(server: Server, method: str, path: str, other: str) -> None:
    response = httpx.request(method, f"{server.model_url}/versions/{other}{path}", json={"inputs": [TENSOR]})
    assert (response.status_code, list(response.json())) == (404, ["error"])
    assert "is not served in version" in response.json()["error"]
    assert len(response.text) < 300


def test_the_version_may_be_given_by_name(start: Start, draft_bundle: Path) -> None:
    server = start(draft_bundle, "--allow_unsigned", "--model_version", "7").wait_ready()
    assert httpx.get(server.model_url).json()["versions"] == ["7"]
    assert httpx.get(f"{server.model_url}/versions/7/ready").status_code == 200
    assert httpx.get(f"{server.model_url}/versions/07/ready").status_code == 404


@pytest.mark.parametrize("body", [b"", b"{}", b'{"ready": true}'])
def test_the_index_of_the_repository(server: Server, version: str, body: bytes) -> None:
    found = httpx.post(f"{server.url}/v2/repository/index", content=body).json()
    assert found == [{"name": "messages", "version": version, "state": "READY", "reason": ""}]


def test_the_server_says_what_it_extends(server: Server) -> None:
    metadata = httpx.get(f"{server.url}/v2").json()
    assert metadata["extensions"] == ["model_repository_extension", "binary_tensor_data"]
    assert metadata["name"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v2/models/messages", {"GET", "HEAD"}),
        ("PUT", "/v2/models/messages/infer", {"POST"}),
        ("GET", "/v1/models/messages:explain", {"POST"}),
        ("PATCH", "/v2/health/ready", {"GET", "HEAD"}),
    ],
)
def test_another_method_is_refused_and_the_right_ones_named(
    server: Server, method: str, path: str, allowed: set[str]
) -> None:
    response = httpx.request(method, server.url + path)
    assert (response.status_code, list(response.json())) == (405, ["error"])
    assert set(response.headers["allow"].split(", ")) == allowed


def test_a_cloud_event_is_answered_with_a_cloud_event(server: Server) -> None:
    headers = {"ce-id": "7", "ce-source": "tests", "ce-type": "question", "ce-specversion": "1.0"}
    body = json.dumps({"instances": ["late parcel"]})
    binary = httpx.post(
        f"{server.url}/v1/models/messages:predict",
        content=body,
        headers={**headers, "content-type": "application/json"},
    )
    assert binary.headers["ce-type"] == "io.kserve.inference.response"
    assert binary.json()["predictions"][0]["label"] == "delivery"
    event = {"id": "7", "source": "tests", "type": "question", "specversion": "1.0", "time": "2026-11-24T00:00:00Z"}
    structured = httpx.post(
        f"{server.url}/v1/models/messages:explain",
        content=json.dumps({**event, "data": {"instances": ["late parcel"]}}),
        headers={"content-type": "application/cloudevents+json"},
    )
    assert structured.headers["content-type"] == "application/cloudevents+json"
    assert structured.json()["data"]["explanations"][0]["label"] == "delivery"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"ce-id": "7"}, b"{}"),
        ({"ce-id": "7", "ce-source": "", "ce-type": "x", "ce-specversion": "9"}, b"{}"),
        ({"ce-id": "7", "ce-source": "a", "ce-type": "x", "ce-specversion": "1.0"}, b"\xff\x00"),
        ({"ce-id": "7", "ce-source": "a", "ce-type": "x", "ce-specversion": "1.0"}, b""),
        (
            {"ce-id": "7", "ce-source": "a", "ce-type": "x", "ce-specversion": "1.0", "ce-contenttype": "text/plain"},
            b'{"instances": ["a"]}',
        ),
        ({"content-type": "application/cloudevents+json"}, b'{"instances": ["a"], "id": 1}'),
        ({"content-type": "application/cloudevents+json"}, b"[]"),
    ],
)
def test_a_broken_cloud_event_is_an_ordinary_request_or_refused(
    server: Server, headers: dict[str, str], body: bytes
) -> None:
    response = httpx.post(f"{server.url}/v1/models/messages:predict", content=body, headers=headers)
    assert response.status_code in (200, 400), response.text
    assert "Traceback" not in response.text
    assert "Cloud Event Exceptions" not in response.text


def test_every_path_is_in_the_document_and_nothing_else() -> None:
    class Nothing:
        def __getattr__(self, name: str) -> None:
            return None

    nothing: Any = Nothing()
    paths = {(verb.lower(), path) for verb, path, _ in Endpoints(nothing, nothing).paths()}
    told = document(Served("messages", "7", ("a", "b"), Limits(), secured=True))
    documented = {
        (verb, path) for path, item in told["paths"].items() for verb in item if verb not in ("parameters", "summary")
    }
    assert documented - paths == {("get", "/metrics"), ("get", "/openapi.json")}
    assert paths <= documented
    for path, item in told["paths"].items():
        for verb in set(item) - {"parameters"}:
            is_probe = item[verb].get("security") == []
            assert is_probe != ("401" in item[verb]["responses"]), path


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [TENSOR | {"shape": [1.0]}]},
        {"inputs": [TENSOR | {"parameters": None}], "id": None, "outputs": None, "parameters": None},
        {"inputs": [TENSOR], "parameters": {"top_k": 2.0, "timeout": 1.5, "priority": "high", "sequence_start": True}},
    ],
)
def test_what_json_and_the_specification_allow_is_answered(server: Server, body: Any) -> None:
    assert httpx.post(f"{server.model_url}/infer", json=body).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({"inputs": [TENSOR, TENSOR]}, 400, "is the only one; got 2 inputs: text, text"),
        ({"inputs": [TENSOR | {"shape": [1.5]}]}, 422, "'shape'"),
        ({"inputs": [TENSOR | {"shape": [True]}]}, 422, "'shape'"),
        ({"inputs": [TENSOR], "parameters": {"a": None}}, 422, "'a' is neither a string nor a number"),
        ({"inputs": [TENSOR], "parameters": {"binary_data_output": 1}}, 422, "must be true or false"),
        (
            {"inputs": [TENSOR], "outputs": [{"name": "label", "parameters": {"binary_data": "no"}}]},
            422,
            "true or false",
        ),
    ],
)
def test_what_they_do_not_allow_is_refused_with_its_reason(server: Server, body: Any, status: int, reason: str) -> None:
    response = httpx.post(f"{server.model_url}/infer", json=body)
    assert (response.status_code, list(response.json())) == (status, ["error"])
    assert reason in response.json()["error"]
