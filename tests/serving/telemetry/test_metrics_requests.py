"""Every request is counted once, with its true status, by the time that its client knows the answer."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
from prometheus_client.parser import text_string_to_metric_families

from tests.serving.conftest import Server

REQUESTS, DURATIONS = "slipway_requests_total", "slipway_request_duration_seconds_count"
TEXTS = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["late parcel"]}]}


def samples(server: Server, sample_name: str, /, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The samples of one name whose labels have these values."""
    page = httpx.get(f"{server.url}/metrics").text
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == sample_name and labels.items() <= sample.labels.items()
    }


class Change:
    """What was counted since it was made."""

    def __init__(self, server: Server, name: str, **labels: str) -> None:
        self.arguments = (server, name)
        self.labels = labels
        self.before = samples(server, name, **labels)

    def total(self, **labels: str) -> float:
        now = samples(*self.arguments, **self.labels, **labels)
        return sum(value - self.before.get(key, 0) for key, value in now.items())

    def wait(self, count: float, **labels: str) -> None:
        """Return when so many were counted; for what no client waits for."""
        until = time.monotonic() + 30
        while self.total(**labels) < count and time.monotonic() < until:
            time.sleep(0.05)
        assert self.total(**labels) == count


def question(*texts: str, model: str = "messages") -> messages.ModelInferRequest:
    contents = {"bytes_contents": [text.encode() for text in texts]}
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "contents": contents}
    return messages.ModelInferRequest(model_name=model, inputs=[tensor])


@pytest.mark.parametrize(
    ("path", "body", "method", "code"),
    [
        ("/v2/models/messages/infer", TEXTS, "infer", 200),
        ("/v2/models/messages/infer", {**TEXTS, "parameters": {"explain": True}}, "explain", 200),
        ("/v2/models/messages/infer", {"inputs": []}, "infer", 400),
        ("/v2/models/nothing/infer", TEXTS, "infer", 404),
        ("/v2/models/messages/infer", "x" * 9_000_000, "infer", 413),
        ("/v2/models/messages/infer", {}, "infer", 422),
        ("/v2/models/messages/versions/1/infer", TEXTS, "infer", 404),
        ("/v1/models/messages:predict", {"instances": ["late parcel"]}, "predict", 200),
        ("/v1/models/messages:predict", {"instances": []}, "predict", 400),
        ("/v2/repository/models/messages/unload", {}, "unload", 403),
        ("/nothing/at/all", {}, "other", 404),
    ],
)
def test_each_rest_answer_is_counted_once_with_its_status(
    server: Server, path: str, body: Any, method: str, code: int
) -> None:
    change = Change(server, REQUESTS)
    assert httpx.post(server.url + path, json=body).status_code == code
    assert change.total() == change.total(code=str(code), method=method, protocol="rest", source="client") == 1
    assert samples(server, REQUESTS, code=str(code), model_name="messages")


def test_a_model_that_raises_counts_as_500_over_rest_and_grpc(moody: Server) -> None:
    change, durations = Change(moody, REQUESTS, method="infer"), Change(moody, DURATIONS)
    assert moody.infer("why").status_code == 500
    with grpc.insecure_channel(moody.grpc) as channel, pytest.raises(grpc.RpcError):
        services.GRPCInferenceServiceStub(channel).ModelInfer(question("why"))
    assert change.total() == 2
    assert change.total(code="500", protocol="rest") == change.total(code="500", protocol="grpc") == 1
    assert durations.total() == 0


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (question("late parcel"), 200),
        (question("late parcel", model="nothing"), 404),
        (question(), 400),
        (question("x" * 9_000_000), 429),
    ],
)
def test_each_grpc_answer_is_counted_once_with_the_http_status_of_its_code(
    server: Server, request_: Any, code: int
) -> None:
    change = Change(server, REQUESTS)
    with grpc.insecure_channel(server.grpc) as channel:
        call = services.GRPCInferenceServiceStub(channel).ModelInfer.future(request_)
        assert (call.code() == grpc.StatusCode.OK) == (code == 200)
    change.wait(1, code=str(code), protocol="grpc", method="infer")
    assert change.total() == 1


def test_a_message_that_is_no_request_is_the_clients_fault(server: Server) -> None:
    change = Change(server, REQUESTS)
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as failure:
        channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(b"\xff\xff\xff")
    assert failure.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert change.total() == change.total(code="400", protocol="grpc") == 1


def test_requests_of_clients_that_go_are_counted_as_499(moody: Server) -> None:
    change, durations = Change(moody, REQUESTS), Change(moody, DURATIONS)
    body = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["again"]}]}).encode()
    head = f"POST /v2/models/messages/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", moody.http_port)) as connection:
        connection.sendall(head.encode() + body[:10])  # goes before the request is complete
    change.wait(1, code="499", protocol="rest")
    with socket.create_connection(("127.0.0.1", moody.http_port)) as connection:
        connection.sendall(head.encode() + body)  # goes before the answer
    change.wait(2, code="499", protocol="rest")
    with grpc.insecure_channel(moody.grpc) as channel:
        call = services.GRPCInferenceServiceStub(channel).ModelInfer.future(question("again"))
        until = time.monotonic() + 30
        while not any(samples(moody, "slipway_requests_in_flight").values()) and time.monotonic() < until:
            time.sleep(0.01)
        assert any(samples(moody, "slipway_requests_in_flight").values())
        call.cancel()
        change.wait(1, code="499", protocol="grpc")
    assert change.total() == 3
    assert durations.total() == 0
    assert set(samples(moody, "slipway_requests_in_flight").values()) == {0.0}


def test_latencies_are_in_the_buckets_that_a_rollout_uses(server: Server) -> None:
    from slipway.components.clients.latency_histogram import LATENCY_BOUNDS_MS

    change = Change(server, DURATIONS, protocol="rest", method="infer", source="client")
    assert server.infer("late parcel").status_code == 200
    assert change.total() == 1
    bounds = {float(dict(key)["le"]) for key in samples(server, "slipway_request_duration_seconds_bucket")}
    expected = [bound / 1000 for bound in LATENCY_BOUNDS_MS if bound <= 30_000]
    assert sorted(bounds) == pytest.approx([*expected, float("inf")])


def test_the_served_model_is_named_and_ready(server: Server, signed_bundle: Path) -> None:
    from slipway.components.artifacts.bundle import Bundle

    digest = Bundle(signed_bundle).digest()
    (info,) = samples(server, "slipway_model_info", model_name="messages")
    assert dict(info)["digest"] == digest
    assert list(samples(server, "slipway_model_ready", model_version=digest[7:19]).values()) == [1.0]


def test_probes_and_scrapes_are_not_counted(server: Server) -> None:
    change = Change(server, REQUESTS)
    for path in ("", "/metrics", "/v2/health/live", "/v2/models/messages/ready", "/v1/models/messages"):
        assert httpx.get(server.url + path).status_code == 200
    assert change.total() == 0
