"""What clients get over gRPC: the kserve client, tritonclient and bare messages; errors with their status codes."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
from kserve.protocol.infer_type import RequestedOutput

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.onnx_classifier import Classifier
from tests.serving.conftest import Server

TRITON = """
import json, sys
import numpy as np
import tritonclient.grpc as triton

with triton.InferenceServerClient(sys.argv[1]) as client:
    given = triton.InferInput("text", [2], "BYTES")
    given.set_data_from_numpy(np.array([b"late parcel", b"invoice charged"], dtype=object))
    answer = client.infer("messages", [given], outputs=[triton.InferRequestedOutput("label")])
    metadata = client.get_model_metadata("messages", as_json=True)
    health = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("messages")]
labels = [label.decode() for label in answer.as_numpy("label")]
print(json.dumps([labels, answer.as_numpy("score") is None, health, metadata]))
"""
"""In a process of its own: tritonclient and kserve both define the protocol's messages."""
TEXTS = ["parcel courier late", "invoice charged please", "the password is locked"]


@pytest.fixture
def stub(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield services.GRPCInferenceServiceStub(channel)


def request(*texts: bytes, model: str = "messages", **changes: Any) -> messages.ModelInferRequest:
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "contents": {"bytes_contents": texts}}
    return messages.ModelInferRequest(model_name=model, inputs=[tensor | changes])


def ask_with_kserve(server: Server, given: InferRequest) -> Any:
    async def ask() -> Any:
        client = InferenceGRPCClient(server.grpc)
        try:
            return await client.infer(given)
        finally:
            await client.close()

    return asyncio.run(ask())


def test_the_kserve_client_gets_what_the_classifier_computes(server: Server, signed_bundle: Path) -> None:
    given = InferInput("text", [3], "BYTES", TEXTS)
    answer = ask_with_kserve(server, InferRequest("messages", [given], "42"))
    expected = Classifier(signed_bundle).probabilities(TEXTS)
    assert answer.get_output_by_name("label").as_numpy().tolist() == [b"delivery", b"billing", b"account"]
    np.testing.assert_allclose(answer.get_output_by_name("probabilities").as_numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(answer.get_output_by_name("score").as_numpy(), expected.max(axis=1), atol=1e-5)
    assert answer.parameters["bundle_digest"].string_param == Bundle(signed_bundle).digest()
    assert answer.model_version == Bundle(signed_bundle).digest().removeprefix("sha256:")[:12]
    assert answer.id == "42"


def test_only_the_requested_outputs_come_back(server: Server) -> None:
    given = InferInput("text", [1], "BYTES", TEXTS[:1])
    answer = ask_with_kserve(server, InferRequest("messages", [given], request_outputs=[RequestedOutput("score")]))
    assert [output.name for output in answer.outputs] == ["score"]


def test_tritonclient_gets_raw_tensors_health_and_metadata(server: Server) -> None:
    told = subprocess.run([sys.executable, "-c", TRITON, server.grpc], capture_output=True, text=True, check=True)
    labels, only_the_label, health, metadata = json.loads(told.stdout)
    assert labels == ["delivery", "billing"]
    assert only_the_label
    assert health == [True, True, True]
    assert metadata["platform"] == "onnx_onnxv1"
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert [(output["name"], output["datatype"], output["shape"]) for output in metadata["outputs"]] == [
        ("label", "BYTES", ["-1"]),
        ("score", "FP32", ["-1"]),
        ("probabilities", "FP32", ["-1", "3"]),
    ]


@pytest.mark.parametrize(
    ("wrong", "code", "reason"),
    [
        (request(), "INVALID_ARGUMENT", "no texts"),
        (request(b"\xc3\x28"), "INVALID_ARGUMENT", "text 0 is not valid UTF-8"),
        (request(b"a", shape=[2]), "INVALID_ARGUMENT", "does not fit its shape"),
        (request(b"a", datatype="FP32", contents={"fp32_contents": [1]}), "INVALID_ARGUMENT", "expected BYTES"),
        (request(*[b"a"] * 257), "INVALID_ARGUMENT", "257 texts; at most 256"),
        (messages.ModelInferRequest(model_name="messages"), "INVALID_ARGUMENT", "is missing"),
        (request(b"a", model="other"), "NOT_FOUND", "other"),
    ],
)
def test_a_wrong_request_is_refused_with_its_reason(stub: Any, wrong: Any, code: str, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        stub.ModelInfer(wrong)
    assert failure.value.code().name == code
    assert reason in failure.value.details()


@pytest.mark.parametrize("raw", [b"\x05\x00\x00\x00a", b"\x01"])
def test_wrong_raw_contents_are_refused(stub: Any, raw: bytes) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES"}
    with pytest.raises(grpc.RpcError) as failure:
        stub.ModelInfer(messages.ModelInferRequest(model_name="messages", inputs=[tensor], raw_input_contents=[raw]))
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_models_cannot_be_unloaded_by_strangers(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        stub.RepositoryModelUnload(messages.RepositoryModelUnloadRequest(model_name="messages"))
    assert failure.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert stub.ModelInfer(request(b"late parcel")).outputs[0].contents.bytes_contents == [b"delivery"]


def test_a_request_over_the_limit_is_refused(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        stub.ModelInfer(request(b"a" * 9 * 2**20))
    assert failure.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
