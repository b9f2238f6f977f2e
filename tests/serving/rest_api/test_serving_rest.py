"""What clients get over REST: V2 with JSON and binary tensors, V1, and errors in the form of the specification."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.onnx_classifier import Classifier
from tests.serving.conftest import Server

TEXTS = ["parcel courier late", "invoice charged please", "the password is locked"]
LABELS = ["billing", "delivery", "account"]


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def refused(response: httpx.Response, status: int) -> str:
    """The reason, which is all that an error carries."""
    assert (response.status_code, list(response.json())) == (status, ["error"]), response.text
    reason: str = response.json()["error"]
    return reason


def post(server: Server, body: object, path: str = "/infer", headers: dict[str, str] | None = None) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{server.model_url}{path}", content=content, headers=headers)


def tensor(**changes: object) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"], **changes}]}


def test_the_answer_is_what_the_classifier_computes(server: Server, signed_bundle: Path) -> None:
    found = outputs(server.infer(*TEXTS))
    expected = Classifier(signed_bundle).probabilities(TEXTS)
    assert found["label"]["data"] == ["delivery", "billing", "account"]
    assert (found["label"]["datatype"], found["label"]["shape"]) == ("BYTES", [3])
    np.testing.assert_allclose(found["score"]["data"], expected.max(axis=1), atol=1e-5)
    assert (found["score"]["datatype"], found["score"]["shape"]) == ("FP32", [3])
    np.testing.assert_allclose(found["probabilities"]["data"], expected.ravel(), atol=1e-5)
    assert (found["probabilities"]["datatype"], found["probabilities"]["shape"]) == ("FP32", [3, 3])
    assert json.loads(found["probabilities"]["parameters"]["labels"]) == LABELS


@pytest.mark.parametrize("encoding", ["gzip", "deflate, gzip", "br"])
def test_a_compressed_body_is_refused_as_what_it_is(server: Server, encoding: str) -> None:
    body = gzip.compress(json.dumps(tensor()).encode())
    answer = post(server, body, headers={"content-encoding": encoding})
    assert f"Content-Encoding {encoding}" in refused(answer, 415)
    assert answer.headers["accept-encoding"] == "identity"
    assert post(server, tensor(), headers={"content-encoding": "identity"}).status_code == 200


def test_a_content_type_that_would_change_the_text_is_refused(server: Server) -> None:
    encoded = tensor(data=["aGVsbG8="], parameters={"content_type": "base64"})
    assert "content_type 'base64'" in refused(post(server, encoded), 400)
    assert "content_type 'base64'" in refused(post(server, tensor() | {"parameters": {"content_type": "base64"}}), 400)
    assert post(server, tensor(parameters={"content_type": "str"})).status_code == 200


def test_the_answer_says_which_bundle_gave_it(server: Server, signed_bundle: Path) -> None:
    digest = Bundle(signed_bundle).digest()
    answer = server.infer("hello", id="42").json()
    assert answer["parameters"]["bundle_digest"] == digest
    assert answer["model_version"] == digest.removeprefix("sha256:")[:12]
    assert (answer["model_name"], answer["id"]) == ("messages", "42")


def test_metadata_tells_names_types_and_shapes(server: Server) -> None:
    metadata = httpx.get(server.model_url).json()
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert metadata["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
        {"name": "score", "datatype": "FP32", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
    ]
    assert metadata["platform"] == "onnx_onnxv1"
    assert metadata["versions"] == [server.infer("hello").json()["model_version"]]


@pytest.mark.parametrize(
    "path", ["v2/health/live", "v2/health/ready", "v2/models/messages/ready", "v1/models/messages"]
)
def test_a_server_that_can_answer_is_ready(server: Server, path: str) -> None:
    assert httpx.get(f"{server.url}/{path}").status_code == 200


def test_an_input_of_another_name_or_a_column_works(server: Server) -> None:
    found = outputs(post(server, tensor(name="message", shape=[1, 1], data=[["late parcel"]])))
    assert found["label"]["data"] == ["delivery"]


def test_only_the_requested_outputs_come_back(server: Server) -> None:
    found = outputs(server.infer("late parcel", outputs=[{"name": "score"}]))
    assert list(found) == ["score"]


def test_tritonclient_gets_binary_tensors(server: Server) -> None:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        given = triton.InferInput("text", [3], "BYTES")
        given.set_data_from_numpy(np.array([text.encode() for text in TEXTS], dtype=object), binary_data=True)
        wanted = [triton.InferRequestedOutput(name, binary_data=True) for name in ("probabilities", "label")]
        answer = client.infer("messages", [given], outputs=wanted)
        assert client.is_model_ready("messages")
        assert client.get_model_metadata("messages")["inputs"][0]["name"] == "text"
    assert answer.as_numpy("label").tolist() == [b"delivery", b"billing", b"account"]
    assert answer.as_numpy("probabilities").shape == (3, 3)
    assert answer.as_numpy("score") is None


def test_tritonclient_gets_json_without_a_content_type(server: Server) -> None:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        given = triton.InferInput("text", [1], "BYTES")
        given.set_data_from_numpy(np.array([b"late parcel"], dtype=object), binary_data=False)
        answer = client.infer("messages", [given], outputs=[triton.InferRequestedOutput("label", binary_data=False)])
    assert answer.as_numpy("label").tolist() == ["delivery"]


def test_all_outputs_are_binary_when_the_request_asks_for_it(server: Server) -> None:
    response = server.infer("late parcel", parameters={"binary_data_output": True})
    length = int(response.headers["inference-header-content-length"])
    sizes = [output["parameters"]["binary_data_size"] for output in json.loads(response.content[:length])["outputs"]]
    assert length + sum(sizes) == len(response.content)
    assert response.content[length : length + sizes[0]] == b"\x08\x00\x00\x00delivery"


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "text/plain"])
def test_v1_predict_answers_texts(server: Server, content_type: str) -> None:
    body = json.dumps({"instances": TEXTS}).encode()
    url = f"{server.url}/v1/models/messages:predict"
    answer = httpx.post(url, content=body, headers={"content-type": content_type}).json()
    assert [item["label"] for item in answer["predictions"]] == ["delivery", "billing", "account"]
    first = answer["predictions"][0]
    assert list(first["probabilities"]) == LABELS
    assert first["score"] == max(first["probabilities"].values())


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"{", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 60_000, 400, "not JSON"),
        (b"[" * 100_000, 400, "more than 10000 lists"),
        ([], 422, "must be a JSON object"),
        ({}, 422, "'inputs' is missing"),
        ({"inputs": []}, 400, "'text' (BYTES, shape [n]) is missing"),
        ({"inputs": [5]}, 422, "inputs[0] must be a JSON object"),
        (tensor(shape=[0], data=[]), 400, "no texts"),
        (tensor(shape=[3]), 400, "does not fit its shape [3]"),
        (tensor(shape=[1, 2]), 400, "has shape [1, 2]; expected [n]"),
        (tensor(shape=[-1]), 400, "has shape [-1]"),
        (tensor(shape="1"), 422, "'shape'"),
        (tensor(datatype="FP32", data=[1.5]), 400, "datatype FP32; expected BYTES"),
        (tensor(data=[1.5]), 400, "text 0 is a float; expected a string"),
        (tensor(data=[["a", "b"]]), 400, "does not fit its shape"),
        (tensor(data="hello"), 422, "not a list"),
        (tensor(shape=[257], data=["a"] * 257), 400, "257 texts; at most 256"),
        (tensor(data=["a" * 100_001]), 400, "100001 characters; at most 100000"),
        (tensor() | {"outputs": [{"name": "embedding"}]}, 400, "unknown output 'embedding'"),
        (tensor() | {"id": 7}, 422, "'id' must be a string"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(server: Server, body: Any, status: int, reason: str) -> None:
    assert reason in refused(post(server, body), status)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\x02\x00\x00\x00\xc3\x28", "text 0 is not valid UTF-8"),
        (b"\xff\xff\xff\x7fab", "does not fit its shape"),
        (b"\x01\x00", "does not fit its shape"),
        (b"\x01\x00\x00\x00a\x01\x00\x00\x00b", "does not fit its shape"),
    ],
)
def test_wrong_binary_data_is_refused(server: Server, raw: bytes, reason: str) -> None:
    described = tensor(parameters={"binary_data_size": len(raw)})
    del described["inputs"][0]["data"]
    head = json.dumps(described).encode()
    response = post(server, head + raw, headers={"inference-header-content-length": str(len(head))})
    assert reason in refused(response, 400)


@pytest.mark.parametrize("length", ["-1", "x", "999999", "1"])
def test_a_wrong_header_length_is_refused(server: Server, length: str) -> None:
    refused(post(server, tensor(), headers={"inference-header-content-length": length}), 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/other/infer", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/other", 404),
        ("POST", "/v1/models/other:predict", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v2/models/messages/infer", 405),
        ("POST", "/v2/repository/models/messages/unload", 403),
        ("POST", "/v2/repository/models/messages/load", 403),
    ],
)
def test_what_is_not_there_or_not_allowed_has_its_status(server: Server, method: str, path: str, status: int) -> None:
    body = b'{"instances": ["a"]}' if method == "POST" else None
    refused(httpx.request(method, server.url + path, content=body), status)
    assert server.infer("late parcel").status_code == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"instances": "a"}', b'{"instances": []}', b'{"instances": [1]}'])
def test_a_wrong_v1_request_is_refused(server: Server, body: bytes) -> None:
    refused(httpx.post(f"{server.url}/v1/models/messages:predict", content=body), 400)


def test_a_body_over_the_limit_is_refused_whether_its_length_is_declared_or_not(server: Server) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 2**20

    for body in (b" " * (9 * 2**20), parts()):
        try:
            response = httpx.post(f"{server.model_url}/infer", content=body)
        except httpx.WriteError:
            continue  # the server closed the connection before it had read all
        assert "1048576" in refused(response, 413)
    assert server.infer("late parcel").status_code == 200


def test_the_log_has_no_texts(server: Server) -> None:
    server.infer("a secret parcel", outputs=[{"name": "wrong"}])
    assert "event=refused" in server.log()
    assert "secret" not in server.log()
