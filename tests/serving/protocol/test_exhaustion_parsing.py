"""Requests that are costly to read: the server goes on answering probes, and refuses what nobody needs at once."""

import json
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from tests.serving.conftest import Server, Start
from tests.serving.strangers import MEGABYTE

pytestmark = pytest.mark.alone

PROBES = 40
PROBE_S = 0.25
"""Half of the probes may take, on a machine whose two cores the tests share; kubelet's default is 1 s."""


def filled(start: bytes, item: bytes, end: bytes) -> bytes:
    """JSON of nearly a mebibyte."""
    return start + item * ((MEGABYTE - 1000) // len(item)) + item[:-1] + end


TENSOR = b'{"name": "text", "shape": [1], "datatype": "BYTES", '
COSTLY = {
    "inputs": filled(b'{"inputs": [', b"{},", b"]}"),
    "shape": filled(b'{"inputs": [{"name": "text", "datatype": "BYTES", "data": ["a"], "shape": [', b"1,", b"]}]}"),
    "data": filled(b'{"inputs": [' + TENSOR + b'"data": [', b"1,", b"]}]}"),
    "lists": filled(b'{"inputs": [' + TENSOR + b'"data": [', b"[],", b"]}]}"),
    "outputs": filled(b'{"inputs": [' + TENSOR + b'"data": ["a"]}], "outputs": [', b'{"name":"label"},', b"]}"),
}


@pytest.fixture(scope="module")
def busy(module_start: Start, moody_bundle: Path) -> Server:
    return module_start(moody_bundle, "--allow_unsigned").wait_ready()


@pytest.mark.parametrize("kind", COSTLY)
def test_probes_are_answered_while_large_bodies_are_read(busy: Server, kind: str) -> None:
    over = threading.Event()

    def ask() -> set[int]:
        found = set()
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                found.add(client.post(f"{busy.model_url}/infer", content=COSTLY[kind]).status_code)
        return found

    with ThreadPoolExecutor(4) as pool, httpx.Client(timeout=10) as prober:
        asking = [pool.submit(ask) for _ in range(4)]
        took = []
        for _ in range(PROBES):
            began = time.perf_counter()
            assert prober.get(f"{busy.url}/v2/health/ready").status_code == 200
            took.append(time.perf_counter() - began)
            time.sleep(0.02)
        over.set()
        assert set().union(*(one.result() for one in asking)) <= {400, 422}
    assert statistics.median(took) < PROBE_S


def test_brackets_in_texts_are_no_lists(busy: Server) -> None:
    texts = ['[{"' * 10_000, "]" * 50_000, "{" * 90_000]
    answer = httpx.post(f"{busy.url}/v1/models/messages:predict", json={"instances": texts}, timeout=60)
    assert answer.status_code == 200


@pytest.mark.parametrize("body", [b'"' + b'\\"' * 500_000, b'"' + b'\\"' * 500_000 + b"\\", b'["' * 300_000])
def test_unclosed_strings_take_no_time(busy: Server, body: bytes) -> None:
    began = time.monotonic()
    assert httpx.post(f"{busy.model_url}/infer", content=b"[" * 20_000 + body, timeout=60).status_code == 400
    assert time.monotonic() - began < 2


def test_items_of_grpc_that_nobody_needs_are_refused(busy: Server) -> None:
    text = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"late parcel"]}}
    with grpc.insecure_channel(busy.grpc) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        superfluous: list[dict[str, Any]] = [
            {"inputs": [{}] * 300_000},
            {"inputs": [text], "outputs": [{}] * 300_000},
            {"inputs": [{**text, "shape": [1] * 300_000}]},
            {"inputs": [text], "raw_input_contents": [b""] * 300_000},
        ]
        for fields in superfluous:
            request = messages.ModelInferRequest(model_name="messages", **fields)
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request, timeout=10)
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "more than 64" in refused.value.details()


def test_a_body_is_one_mebibyte_at_most_unless_the_server_is_told(
    busy: Server, start: Start, moody_bundle: Path
) -> None:
    large = json.dumps({"instances": ["late parcel " * 8000] * 12})
    assert MEGABYTE < len(large) < 2 * MEGABYTE
    assert httpx.post(f"{busy.url}/v1/models/messages:predict", content=large, timeout=60).status_code == 413
    roomy = start(moody_bundle, "--allow_unsigned", "--max_body", str(2 * MEGABYTE)).wait_ready()
    assert httpx.post(f"{roomy.url}/v1/models/messages:predict", content=large, timeout=60).status_code == 200
