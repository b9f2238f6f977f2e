"""Clients that nobody here wrote, sync and async: what each of them calls works.

Those that bring the protocol's messages of their own run in a process of their own: a process can have them only once.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.artifacts.signing import KeyPair
from tests.serving.conftest import Server, Start

TEXTS = ["parcel courier late", "invoice charged please"]
LABELS = ["delivery", "billing"]
SERVICE = "inference.GRPCInferenceService"
INFERENCE = {
    "model_name": "messages",
    "inputs": [
        {
            "name": "text",
            "shape": [2],
            "datatype": "BYTES",
            "contents": {"bytes_contents": ["cGFyY2VsIGNvdXJpZXIgbGF0ZQ==", "aW52b2ljZSBjaGFyZ2VkIHBsZWFzZQ=="]},
        }
    ],
    "parameters": {"top_k": {"int64_param": 2}},
}
TRITON = """
import asyncio, inspect, json, sys
import numpy as np
import importlib

module, address, version = sys.argv[1:]
triton = importlib.import_module(module)
options = {"headers": {}} if "http" in module else {}

async def wait(answer):
    return await answer if inspect.isawaitable(answer) else answer

async def ask():
    client = triton.InferenceServerClient(address)
    texts = np.array([b"parcel courier late", b"invoice charged please"], dtype=object)
    given = triton.InferInput("text", [2], "BYTES")
    given.set_data_from_numpy(texts)
    names = ("label", "probabilities", "top_labels", "top_scores", "explanation")
    outputs = [triton.InferRequestedOutput(name) for name in names]
    wishes = {"top_k": 2, "explain": True}
    answer = await wait(client.infer("messages", [given], version, outputs, "7", parameters=wishes))
    metadata = await wait(client.get_model_metadata("messages", version))
    server = await wait(client.get_server_metadata())
    found = {
        "live": await wait(client.is_server_live()),
        "ready": await wait(client.is_server_ready()),
        "model": await wait(client.is_model_ready("messages")),
        "version": await wait(client.is_model_ready("messages", version)),
        "other": await refused(client.get_model_metadata("messages", "99")),
        "unknown": await refused(client.get_model_metadata("nobody")),
        "infer_other": await refused(client.infer("messages", [given], "99")),
        "label": answer.as_numpy("label").astype(str).tolist(),
        "probabilities": answer.as_numpy("probabilities").tolist(),
        "top_labels": answer.as_numpy("top_labels").astype(str).tolist(),
        "top_scores": answer.as_numpy("top_scores").tolist(),
        "explanation": [[text.decode() for text in row] for row in answer.as_numpy("explanation").tolist()],
        "score": answer.as_numpy("score"),
        "metadata": metadata if isinstance(metadata, dict) else as_dict(metadata),
        "server": server["name"] if isinstance(server, dict) else server.name,
    }
    if "http" in module:
        found["index"] = await wait(client.get_model_repository_index())
    await wait(client.close())
    return found

async def refused(question):
    try:
        await wait(question() if callable(question) else question)
    except Exception as error:
        return str(error)

def as_dict(message):
    from google.protobuf import json_format
    told = json_format.MessageToDict(message)
    for tensor in told["inputs"] + told["outputs"]:
        tensor["shape"] = [int(extent) for extent in tensor["shape"]]
    return told

print(json.dumps(asyncio.run(ask())))
"""


@pytest.fixture(scope="module")
def version(server: Server) -> str:
    found: str = server.infer("hello").json()["model_version"]
    return found


def sync_refusals(source: str) -> str:
    """For the clients that are not async a refused question must not be asked before it is wrapped."""
    for call in ('client.get_model_metadata("messages", "99")', 'client.get_model_metadata("nobody")'):
        source = source.replace(f"refused({call})", f"refused(lambda: {call})")
    return source.replace(
        'refused(client.infer("messages", [given], "99"))', 'refused(lambda: client.infer("messages", [given], "99"))'
    )


@pytest.mark.parametrize("module", ["http", "http.aio", "grpc", "grpc.aio"])
def test_tritonclient(module: str, server: Server, version: str, signed_bundle: Path) -> None:
    address = server.url.removeprefix("http://") if "http" in module else server.grpc
    command = [sys.executable, "-c", sync_refusals(TRITON), f"tritonclient.{module}", address, version]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert [found[name] for name in ("live", "ready", "model", "version")] == [True] * 4
    assert "not served in version 99" in found["other"]
    assert "not served in version 99" in found["infer_other"]
    assert "nobody does not exist" in found["unknown"]
    assert found["label"] == LABELS
    expected = Classifier(signed_bundle).probabilities(TEXTS)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    assert [row[0] for row in found["top_labels"]] == LABELS
    np.testing.assert_allclose(found["top_scores"], -np.sort(-expected, axis=1)[:, :2], atol=1e-5)
    assert found["score"] is None
    told = [[json.loads(text)["label"] for text in row] for row in found["explanation"]]
    assert told == found["top_labels"]
    assert (found["metadata"]["versions"], found["metadata"]["platform"]) == ([version], "onnx_onnxv1")
    assert found["metadata"]["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [(item["name"], item["shape"]) for item in found["metadata"]["outputs"]] == [
        ("label", [-1]),
        ("score", [-1]),
        ("probabilities", [-1, 3]),
    ]
    assert found["server"] == "kserve"
    if "http" in module:
        assert [(item["name"], item["version"], item["state"]) for item in found["index"]] == [
            ("messages", version, "READY")
        ]


def question() -> InferRequest:
    given = InferInput("text", [2], "BYTES", TEXTS)
    return InferRequest("messages", [given], "42", request_outputs=[RequestedOutput("label")])


def test_the_kserve_rest_client_over_v2(server: Server) -> None:
    async def ask() -> list[Any]:
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
        health = [
            await client.is_server_live(server.url),
            await client.is_server_ready(server.url),
            await client.is_model_ready(server.url, "messages"),
        ]
        return [health, await client.infer(server.url, question(), model_name="messages")]

    health, answer = asyncio.run(ask())
    assert health == [True] * 3
    assert (answer.id, [output.name for output in answer.outputs]) == ("42", ["label"])
    assert answer.outputs[0].as_numpy().tolist() == LABELS


def test_the_kserve_rest_client_over_v1(server: Server) -> None:
    async def ask() -> list[Any]:
        client = InferenceRESTClient(RESTConfig(protocol="v1", timeout=60))
        predicted = await client.infer(server.url, {"instances": TEXTS}, model_name="messages")
        explained = await client.explain(server.url, "messages", {"instances": TEXTS})
        return [await client.is_model_ready(server.url, "messages"), predicted, explained]

    ready, predicted, explained = asyncio.run(ask())
    assert ready
    assert [item["label"] for item in predicted["predictions"]] == LABELS
    assert [item["words"] for item in explained["explanations"]] == [text.split() for text in TEXTS]


def test_the_kserve_grpc_client(server: Server) -> None:
    async def ask() -> list[Any]:
        client = InferenceGRPCClient(server.grpc, timeout=60)
        try:
            health = [
                await client.is_server_live(),
                await client.is_server_ready(),
                await client.is_model_ready("messages"),
            ]
            return [health, await client.infer(question())]
        finally:
            await client.close()

    health, answer = asyncio.run(ask())
    assert health == [True] * 3
    assert answer.get_output_by_name("label").as_numpy().tolist() == [label.encode() for label in LABELS]


def test_the_grpc_health_client(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", SERVICE):
            status = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30).status
            assert status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as failure:
            stub.Check(health_pb2.HealthCheckRequest(service="another"), timeout=30)
        assert failure.value.code() == grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="another"), timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


def test_who_watches_health_learns_of_the_end_and_does_not_delay_it(
    start: Start, signed_bundle: Path, keys: KeyPair
) -> None:
    server = start(signed_bundle, "--public_key", keys.public_key).wait_ready()
    with grpc.insecure_channel(server.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=60)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        server.process.terminate()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert list(watch) == []
    assert server.process.wait(20) == 0


def test_a_stub_made_from_reflection_alone_can_infer(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
        method = DescriptorPool(database).FindServiceByName(SERVICE).FindMethodByName("ModelInfer")
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        ask = channel.unary_unary(f"/{SERVICE}/ModelInfer", request.SerializeToString, response.FromString)
        answer = ask(json_format.ParseDict(INFERENCE, request()), timeout=30)
    tensors = {output.name: output for output in answer.outputs}
    assert [label.decode() for label in tensors["label"].contents.bytes_contents] == LABELS
    assert list(tensors["top_labels"].shape) == [2, 2]


GRPCURL = shutil.which("grpcurl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(not GRPCURL, reason="grpcurl is not installed; the reflection client stands for it")
def test_grpcurl(server: Server) -> None:
    def grpcurl(*words: str) -> str:
        command = [str(GRPCURL), "-plaintext", "-max-time", "30", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert SERVICE in grpcurl(server.grpc, "list").split()
    assert "SERVING" in grpcurl(server.grpc, "grpc.health.v1.Health/Check")
    answer = json.loads(grpcurl("-d", json.dumps(INFERENCE), server.grpc, f"{SERVICE}/ModelInfer"))
    assert answer["outputs"][0]["name"] == "label"
    assert list(answer["outputs"][0]["contents"].values()) == [["ZGVsaXZlcnk=", "YmlsbGluZw=="]]
