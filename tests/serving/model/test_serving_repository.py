"""Load, unload and list, for administrators: what is loaded again was verified again."""

import json
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import grpc
import httpx
import pytest
import tritonclient.http as triton
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from tests.serving.conftest import Server, Start

LOADS = 80
BODY = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["late parcel"]}]}).encode()


@dataclass(frozen=True)
class Managed:
    """A server, the bundle that it has, and the headers of an administrator."""

    server: Server
    bundle: Path
    headers: dict[str, str]


@pytest.fixture(scope="module")
def managed(
    module_start: Start, signed_bundle: Path, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory
) -> Managed:
    folder = tmp_path_factory.mktemp("managed")
    bundle = shutil.copytree(signed_bundle, folder / "bundle")
    _, key = api_keys.add(folder / "keys.json", "ops", [Scope.ADMIN, Scope.PREDICT])
    server = module_start(bundle, "--public_key", keys.public_key, "--api_keys", folder / "keys.json").wait_ready()
    return Managed(server, bundle, headers={"authorization": f"Bearer {key}"})


@pytest.fixture(autouse=True)
def loaded(managed: Managed) -> Iterator[None]:
    """Every test finds and leaves the model loaded."""
    yield
    assert change(managed, "load").status_code == 200


def change(managed: Managed, what: str, model: str = "messages") -> httpx.Response:
    url = f"{managed.server.url}/v2/repository/models/{model}/{what}"
    return httpx.post(url, headers=managed.headers, timeout=60)


def infer(managed: Managed) -> httpx.Response:
    return httpx.post(f"{managed.server.model_url}/infer", content=BODY, headers=managed.headers, timeout=60)


def ready(managed: Managed) -> httpx.Response:
    return httpx.get(f"{managed.server.model_url}/ready", timeout=60)


def index(managed: Managed, **wanted: bool) -> list[dict[str, str]]:
    url = f"{managed.server.url}/v2/repository/index"
    found: list[dict[str, str]] = httpx.post(url, json=wanted, headers=managed.headers, timeout=60).json()
    return found


def test_an_unloaded_model_is_not_ready_and_says_so_until_it_is_loaded_again(managed: Managed) -> None:
    version = infer(managed).json()["model_version"]
    assert change(managed, "unload").json() == {"name": "messages", "unload": True}
    assert ready(managed).status_code == 503
    assert "it was unloaded" in ready(managed).json()["error"]
    assert httpx.get(f"{managed.server.url}/v2/health/ready").status_code == 503
    assert infer(managed).status_code == 503
    unavailable = {"name": "messages", "version": version, "state": "UNAVAILABLE", "reason": "it was unloaded"}
    assert index(managed) == [unavailable]
    assert index(managed, ready=True) == []
    assert change(managed, "load").json() == {"name": "messages", "load": True}
    assert ready(managed).status_code == 200
    assert infer(managed).json()["outputs"][0]["data"] == ["delivery"]
    assert index(managed, ready=True) == [{**unavailable, "state": "READY", "reason": ""}]


def test_a_bundle_that_was_altered_is_not_loaded_again_and_the_reason_is_in_the_readiness_answer(
    managed: Managed,
) -> None:
    change(managed, "unload")
    file = managed.bundle / "tokenizer.json"
    good = file.read_bytes()
    file.write_bytes(good + b" ")
    answer = change(managed, "load")
    assert (answer.status_code, list(answer.json())) == (503, ["error"])
    for found in (answer, ready(managed), infer(managed)):
        assert "BundleRefused" in found.json()["error"]
        assert str(managed.bundle) not in found.text
    assert "tokenizer.json was altered" in managed.server.log()
    file.write_bytes(good)


def test_a_load_that_fails_leaves_the_loaded_model_in_place(managed: Managed) -> None:
    file = managed.bundle / "tokenizer.json"
    good = file.read_bytes()
    file.write_bytes(good + b" ")
    assert change(managed, "load").status_code == 503
    assert infer(managed).status_code == 200
    file.write_bytes(good)


def test_requests_are_answered_while_the_model_is_loaded_again(managed: Managed) -> None:
    with ThreadPoolExecutor(1) as pool, httpx.Client(timeout=60) as client:
        loading = pool.submit(change, managed, "load")
        statuses: list[int] = []
        while not loading.done() or len(statuses) < 3:
            answer = client.post(f"{managed.server.model_url}/infer", content=BODY, headers=managed.headers)
            statuses.append(answer.status_code)
            time.sleep(0.01)
    assert loading.result().status_code == 200
    assert set(statuses) == {200}


@pytest.mark.parametrize("what", ["load", "unload"])
def test_another_model_is_not_found(managed: Managed, what: str) -> None:
    assert change(managed, what, "other").status_code == 404


def test_grpc_loads_and_unloads_as_well(managed: Managed) -> None:
    metadata = tuple(managed.headers.items())
    with grpc.insecure_channel(managed.server.grpc) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        given = messages.RepositoryModelUnloadRequest(model_name="messages")
        assert stub.RepositoryModelUnload(given, metadata=metadata, timeout=60).isUnloaded
        assert not stub.ModelReady(messages.ModelReadyRequest(name="messages"), timeout=60).ready
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"a"]}}
        request = messages.ModelInferRequest(model_name="messages", inputs=[tensor])
        with pytest.raises(grpc.RpcError) as failure:
            stub.ModelInfer(request, metadata=metadata, timeout=60)
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        given = messages.RepositoryModelLoadRequest(model_name="messages")
        assert stub.RepositoryModelLoad(given, metadata=metadata, timeout=60).isLoaded
        assert stub.ModelReady(messages.ModelReadyRequest(name="messages"), timeout=60).ready


def test_tritonclient_lists_loads_and_unloads(managed: Managed) -> None:
    with triton.InferenceServerClient(managed.server.url.removeprefix("http://"), network_timeout=60) as client:
        client.unload_model("messages", headers=managed.headers)
        assert client.get_model_repository_index(headers=managed.headers)[0]["state"] == "UNAVAILABLE"
        assert not client.is_model_ready("messages")
        client.load_model("messages", headers=managed.headers)
        assert client.is_model_ready("messages")


def test_a_model_that_is_exchanged_while_it_is_loaded_and_put_back_never_answers(
    managed: Managed, moody_bundle: Path, tmp_path: Path
) -> None:
    """A writer does so again and again; the other model answers `billing` to all."""
    model, stop = managed.bundle / "model.onnx", Event()
    contents = [(moody_bundle / "model.onnx").read_bytes(), model.read_bytes()]

    def write() -> None:
        waits = random.Random(1)
        while not stop.is_set():
            for content, seconds in zip(contents, (0.02, 0.1), strict=True):
                (tmp_path / "new").write_bytes(content)
                (tmp_path / "new").replace(model)
                stop.wait(waits.uniform(0.0, seconds))

    writer, answers = Thread(target=write), Counter[str]()
    writer.start()
    try:
        for _ in range(LOADS):
            loaded = change(managed, "load").status_code == 200
            answers[infer(managed).json()["outputs"][0]["data"][0] if loaded else "refused"] += 1
    finally:
        stop.set()
        writer.join()
    assert answers["refused"] > 0, "the writer never met the reader"
    assert answers["delivery"] > 0
    assert answers["billing"] == 0, answers
