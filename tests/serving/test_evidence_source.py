"""What a caller can do to the numbers by which a canary is judged: nothing but send requests that are admitted."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services
from prometheus_client.parser import text_string_to_metric_families

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.components.rollout.kserve.pod_counters import counts_of
from slipway.components.rollout.target import Counts
from tests.conftest import free_port
from tests.serving.conftest import Server, Start

TEXT = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["late parcel"]}]}
MARK = {"x-slipway-source": "comparison"}


@dataclass(frozen=True)
class Measured:
    """A server that asks for a key, where its metrics are, and the keys of a client and of a rollout."""

    server: Server
    metrics: str
    client: str
    rollout: str


@pytest.fixture(scope="module")
def closed(
    signed_bundle: Path, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory, module_start: Start
) -> Measured:
    """A server whose metrics have a port of their own, and keys of a client and of the rollout."""
    file, port = tmp_path_factory.mktemp("keys") / "api-keys.json", free_port()
    client = api_keys.add(file, "shop", [Scope.PREDICT])[1]
    rollout = api_keys.add(file, "rollout", [Scope.PREDICT, Scope.ROLLOUT])[1]
    options = ("--public_key", keys.public_key, "--api_keys", file, "--metrics_port", str(port))
    server = module_start(signed_bundle, *options).wait_ready()
    return Measured(server, metrics=f"http://127.0.0.1:{port}", client=client, rollout=rollout)


def counted(closed: Measured) -> Counts:
    return counts_of(text_string_to_metric_families(httpx.get(f"{closed.metrics}/metrics").text))


def ask(closed: Measured, key: str = "", body: object = TEXT, **headers: str) -> int:
    known = {"x-api-key": key} if key else {}
    url = f"{closed.server.model_url}/infer"
    return httpx.post(url, json=body, headers=known | headers, timeout=30).status_code


def call(closed: Measured, key: str, *texts: str, **metadata: str) -> grpc.StatusCode:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"late parcel"]}}
    request = messages.ModelInferRequest(model_name="messages", inputs=[tensor] if texts else [])
    sent = tuple({**metadata, **({"x-api-key": key} if key else {})}.items())
    with grpc.insecure_channel(closed.server.grpc) as channel:
        asked = services.GRPCInferenceServiceStub(channel).ModelInfer.future(request, metadata=sent, timeout=30)
        return asked.code()


def test_refused_requests_are_no_evidence_and_do_not_make_a_model_look_quick(closed: Measured) -> None:
    before = counted(closed)
    assert ask(closed, closed.client) == 200
    assert call(closed, closed.client, "late parcel") == grpc.StatusCode.OK
    assert {ask(closed) for _ in range(50)} == {401}
    assert {ask(closed, closed.client, {"inputs": []}) for _ in range(20)} == {400}
    assert ask(closed, closed.client, {}) == 422
    assert {call(closed, "", "late parcel") for _ in range(10)} == {grpc.StatusCode.UNAUTHENTICATED}
    assert call(closed, closed.client) == grpc.StatusCode.INVALID_ARGUMENT
    after = counted(closed)
    assert (after.requests - before.requests, after.errors) == (2, 0)
    assert after.latencies.total - before.latencies.total == 2


def test_the_mark_of_a_rollouts_questions_hides_the_rollouts_alone(closed: Measured) -> None:
    before = counted(closed).requests
    assert ask(closed, closed.rollout, **MARK) == 200
    assert call(closed, closed.rollout, "late parcel", **MARK) == grpc.StatusCode.OK
    assert counted(closed).requests == before
    assert ask(closed, closed.client, **MARK) == 200
    assert call(closed, closed.client, "late parcel", **MARK) == grpc.StatusCode.OK
    assert counted(closed).requests == before + 2
    assert ask(closed, closed.rollout) == 200  # as a client asks: a probe
    assert counted(closed).requests == before + 3


def test_metrics_are_on_their_own_port_and_clients_are_not(closed: Measured) -> None:
    assert httpx.get(f"{closed.metrics}/metrics").status_code == 200
    key = {"x-api-key": closed.client}
    for path in ("/v2/models/messages/infer", "/v2", "/", "/v2/health/live", "/openapi.json"):
        assert httpx.get(closed.metrics + path, headers=key).status_code == 404
    assert httpx.post(f"{closed.metrics}/v2/models/messages/infer", json=TEXT, headers=key).status_code == 404
    through = ({"via": "1.1 proxy"}, {"x-forwarded-for": "192.0.2.1"}, {"forwarded": "for=192.0.2.1"})
    for headers in (dict[str, str](), *through):
        assert httpx.get(f"{closed.server.url}/metrics", headers=headers).status_code == 401
    assert httpx.get(f"{closed.server.url}/metrics", headers=key).status_code == 404


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--open_metrics"], "--open_metrics is no more"),
        (["--http_port", "18080", "--metrics_port", "18080"], "which is a port for clients"),
    ],
)
def test_options_that_would_show_clients_the_metrics_are_refused(
    signed_bundle: Path, keys: KeyPair, options: list[str], words: str
) -> None:
    command: list[str | Path] = [sys.executable, "-m", "slipway.serving", "--model_name", "m"]
    command += ["--model_dir", signed_bundle, *options, "--public_key", keys.public_key, "--insecure_no_auth"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
