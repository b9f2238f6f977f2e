"""Who is let in with an API key, over REST and gRPC, and what happens when the file of keys changes."""

import json
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.errors import AccessRefused, BadInput
from tests.serving.conftest import Server, Start

INFER = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["late parcel"]}]}


@dataclass(frozen=True)
class Closed:
    """A server that asks for a key, its file of keys, and the keys of clients."""

    server: Server
    file: Path
    reader: str
    explainer: str
    admin: str
    old: str
    early: str


@pytest.fixture(scope="module")
def closed(signed_bundle: Path, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory, module_start: Start) -> Closed:
    """A server with keys for each scope; `reader` and `old` may predict, `old` has expired."""
    file = tmp_path_factory.mktemp("keys") / "api-keys.json"
    made = {
        "reader": api_keys.add(file, "shop", [Scope.PREDICT])[1],
        "explainer": api_keys.add(file, "desk", [Scope.EXPLAIN])[1],
        "admin": api_keys.add(file, "ops", [Scope.ADMIN])[1],
        "old": api_keys.add(file, "shop", [Scope.PREDICT], expires=datetime.now(UTC) - timedelta(hours=1))[1],
        "early": api_keys.add(file, "shop", [Scope.PREDICT], not_before=datetime.now(UTC) + timedelta(hours=1))[1],
    }
    server = module_start(signed_bundle, "--public_key", keys.public_key, "--api_keys", file).wait_ready()
    return Closed(server, file, **made)


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def post(
    server: Server, headers: dict[str, str] | list[tuple[str, str]], path: str = "/v2/models/messages/infer"
) -> httpx.Response:
    return httpx.post(server.url + path, json=INFER, headers=headers)


def call(server: Server, method: str, request: Any, metadata: dict[str, str]) -> tuple[str, str]:
    """Status and details of a call."""
    with grpc.insecure_channel(server.grpc) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        try:
            getattr(stub, method)(request, metadata=tuple(metadata.items()), timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def grpc_infer(server: Server, metadata: dict[str, str]) -> tuple[str, str]:
    contents = {"bytes_contents": [b"late parcel"]}
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": contents}
    return call(server, "ModelInfer", messages.ModelInferRequest(model_name="messages", inputs=[tensor]), metadata)


@pytest.mark.parametrize("form", ["authorization", "x-api-key"])
def test_a_good_key_is_answered_over_both_protocols(closed: Closed, form: str) -> None:
    headers = bearer(closed.reader) if form == "authorization" else {form: closed.reader}
    assert post(closed.server, headers).status_code == 200
    assert grpc_infer(closed.server, headers) == ("OK", "")


@pytest.mark.parametrize("kind", [Client, GrpcClient])
def test_the_clients_take_a_key(closed: Closed, kind: type[Client] | type[GrpcClient]) -> None:
    address = closed.server.url if kind is Client else closed.server.grpc
    with kind(address, model="messages", key=closed.reader) as asked:
        assert asked.predict(["late parcel"])[0].label == "delivery"
    with kind(address, model="messages", headers={"x-api-key": closed.reader}) as asked:
        assert asked.predict(["late parcel"])[0].label == "delivery"
    with kind(address, model="messages") as asked, pytest.raises(AccessRefused, match="needs an API key"):
        asked.predict(["late parcel"])
    with kind(address, model="messages", key="slipway_0_x") as asked, pytest.raises(AccessRefused):
        asked.predict(["late parcel"])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"authorization": "Bearer slipway_000000000000_abc"},
        {"authorization": "Bearer {reader}x"},
        {"authorization": "Bearer {old}"},
        {"authorization": "Bearer {early}"},
        {"authorization": "Bearer a.b.c"},
        {"authorization": "Basic {reader}"},
        {"authorization": "{reader}"},
        {"authorization": "Bearer"},
        {"x-api-key": ""},
    ],
    ids=["none", "unknown", "altered", "expired", "early", "token", "basic", "bare", "empty", "empty-x"],
)
def test_without_a_good_key_nobody_is_answered(closed: Closed, wrong: dict[str, str]) -> None:
    headers = {name: value.format_map(vars(closed)) for name, value in wrong.items()}
    answer = post(closed.server, headers)
    assert (answer.status_code, list(answer.json())) == (401, ["error"])
    assert answer.headers["www-authenticate"].startswith('Bearer realm="slipway"')
    assert ('error="invalid_token"' in answer.headers["www-authenticate"]) == bool(headers)
    assert grpc_infer(closed.server, headers)[0] == "UNAUTHENTICATED"


def test_a_refused_client_may_try_again_on_the_same_connection(closed: Closed) -> None:
    with httpx.Client(base_url=closed.server.url) as client:
        refused = client.post("/v2/models/messages/infer", json=INFER)
        assert (refused.status_code, refused.headers.get("connection")) == (401, None)
        answered = client.post("/v2/models/messages/infer", json=INFER, headers=bearer(closed.reader))
    assert answered.status_code == 200


def test_a_stranger_with_a_large_body_is_refused_before_it_was_read(closed: Closed) -> None:
    """And reads the answer, although it goes on sending."""

    def parts() -> Iterator[bytes]:
        for _ in range(50):
            yield b" " * 2**20

    answer = httpx.post(f"{closed.server.model_url}/infer", content=parts(), timeout=60)
    assert (answer.status_code, answer.headers["connection"]) == (401, "close")


def test_two_keys_in_one_request_are_refused(closed: Closed) -> None:
    """A proxy might have looked at the other one."""
    answer = post(closed.server, [("authorization", f"Bearer {closed.reader}"), ("authorization", "Bearer x")])
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/", {"none", "reader", "explainer", "admin"}),
        ("GET", "/v2/health/live", {"none", "reader", "explainer", "admin"}),
        ("GET", "/v2/health/ready", {"none", "reader", "explainer", "admin"}),
        ("GET", "/v2/models/messages/ready", {"none", "reader", "explainer", "admin"}),
        ("GET", "/v1/models/messages", {"none", "reader", "explainer", "admin"}),
        ("GET", "/v2", {"reader", "explainer", "admin"}),
        ("GET", "/v2/models/messages", {"reader", "explainer", "admin"}),
        ("GET", "/v1/models", {"reader", "explainer", "admin"}),
        ("GET", "/metrics", {"reader", "explainer", "admin"}),
        ("GET", "/openapi.json", {"reader", "explainer", "admin"}),
        ("POST", "/v2/repository/index", {"reader", "explainer", "admin"}),
        ("GET", "/nothing", {"reader", "explainer", "admin"}),
        ("POST", "/v2/models/messages/infer", {"reader"}),
        ("POST", "/v2/models/messages/versions/1/infer", {"reader"}),
        ("POST", "/v2/models/messages%2Finfer", {"reader"}),
        ("POST", "/v1/models/messages:predict", {"reader"}),
        ("POST", "/v1/models/messages%3Apredict", {"reader"}),
        ("POST", "/v1/models/messages:explain", {"explainer"}),
        ("POST", "/v2/repository/models/other/load", {"admin"}),
        ("POST", "/v2/repository/models/other/unload", {"admin"}),
    ],
)
def test_each_path_needs_its_scope(closed: Closed, method: str, path: str, allowed: set[str]) -> None:
    body = b"{}" if method == "POST" else None
    found = set()
    for name in ("none", "reader", "explainer", "admin"):
        headers = {} if name == "none" else bearer(getattr(closed, name))
        answer = httpx.request(method, closed.server.url + path, headers=headers, content=body)
        if answer.status_code not in (401, 403):
            found.add(name)
        elif name != "none":
            assert answer.status_code == 403
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert found == allowed


@pytest.mark.parametrize("path", ["/v1/models/messages:predict%0A", "/v2/models/messages/infer%0A", "/%00"])
def test_a_path_that_the_router_reads_otherwise_than_the_rules_is_no_way_in(closed: Closed, path: str) -> None:
    assert post(closed.server, bearer(closed.explainer), path).status_code in (400, 403, 404)


@pytest.mark.parametrize(
    ("method", "request_", "allowed"),
    [
        ("ServerLive", messages.ServerLiveRequest(), {"none", "reader", "explainer", "admin"}),
        ("ServerReady", messages.ServerReadyRequest(), {"none", "reader", "explainer", "admin"}),
        ("ModelReady", messages.ModelReadyRequest(name="messages"), {"none", "reader", "explainer", "admin"}),
        ("ModelMetadata", messages.ModelMetadataRequest(name="messages"), {"reader", "explainer", "admin"}),
        ("ServerMetadata", messages.ServerMetadataRequest(), {"reader", "explainer", "admin"}),
        ("ModelInfer", messages.ModelInferRequest(model_name="messages"), {"reader"}),
        ("RepositoryModelLoad", messages.RepositoryModelLoadRequest(model_name="other"), {"admin"}),
        ("RepositoryModelUnload", messages.RepositoryModelUnloadRequest(model_name="other"), {"admin"}),
    ],
)
def test_each_method_of_grpc_needs_its_scope(closed: Closed, method: str, request_: Any, allowed: set[str]) -> None:
    found = set()
    for name in ("none", "reader", "explainer", "admin"):
        metadata = {} if name == "none" else bearer(getattr(closed, name))
        code, _ = call(closed.server, method, request_, metadata)
        if code not in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
            found.add(name)
        elif name != "none":
            assert code == "PERMISSION_DENIED"
    assert found == allowed


def eventually(true: Any) -> None:
    until = time.monotonic() + 30
    while not true() and time.monotonic() < until:
        time.sleep(0.1)
    assert true()


def test_keys_are_rotated_while_the_server_runs(closed: Closed) -> None:
    entry, new = api_keys.add(closed.file, "shop", [Scope.PREDICT])
    eventually(lambda: post(closed.server, bearer(new)).status_code == 200)
    assert post(closed.server, bearer(closed.reader)).status_code == 200  # both are good for a while
    api_keys.revoke(closed.file, entry.id)
    eventually(lambda: post(closed.server, bearer(new)).status_code == 401)
    assert grpc_infer(closed.server, bearer(new))[0] == "UNAUTHENTICATED"
    assert post(closed.server, bearer(closed.reader)).status_code == 200


def test_a_broken_file_of_keys_changes_nothing_but_the_log(closed: Closed) -> None:
    good = closed.file.read_bytes()
    closed.file.write_bytes(b"{")
    eventually(
        lambda: post(closed.server, bearer(closed.old)) and "event=reload_failed what=api_keys" in closed.server.log()
    )
    assert post(closed.server, bearer(closed.reader)).status_code == 200
    closed.file.write_bytes(good)


def test_no_key_is_in_the_log_or_in_the_file(closed: Closed) -> None:
    post(closed.server, bearer(closed.old))
    for key in (closed.reader, closed.old, closed.admin):
        assert key not in closed.server.log()
        assert key.split("_", 2)[2] not in closed.file.read_text()
    assert stat.S_IMODE(closed.file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "nobody could call this server"),
        (["--insecure_no_auth", "--api_keys", "x.json"], "contradicts"),
        (["--api_keys", "missing.json"], "cannot be read"),
        (["--client_ca", "ca.pem"], "needs TLS"),
        (["--insecure_no_auth", "--tls_cert", "a.pem"], "belong together"),
        (["--jwt_issuer", "https://issuer"], "--jwt_audience"),
        (["--jwt_issuer", "http://issuer", "--jwt_audience", "a"], "must come from https"),
        (["--insecure_no_auth", "--max_body", "0"], "--max_body is 0"),
    ],
)
def test_a_server_that_nobody_or_everybody_could_call_does_not_start(
    start: Start, signed_bundle: Path, keys: KeyPair, options: list[str], reason: str
) -> None:
    server = start(signed_bundle, "--public_key", keys.public_key, *options, open=False)
    assert server.process.wait(60) == 2
    line = server.log().strip().splitlines()[-1]
    assert line.startswith("BadInput: ")
    assert reason in line


def test_a_server_that_asks_for_nothing_says_so_in_its_log_and_lets_nobody_administer_it(server: Server) -> None:
    assert "WARNING serving event=insecure_no_auth" in server.log()
    assert post(server, {}).status_code == 200
    assert post(server, {}, "/v2/repository/models/messages/unload").status_code == 403


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"keys": [{"id": "x"}]}', '{"keys": [], "more": 1}', "not json", '{"keys": "a"}']
)
def test_something_else_than_a_key_file_is_bad_input(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    with pytest.raises(BadInput, match=r"keys\.json"):
        api_keys.read(file)


def test_an_id_that_is_there_twice_is_bad_input(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    entry, _ = api_keys.add(file, "shop", [Scope.PREDICT])
    twice = [entry.model_dump(mode="json"), {**entry.model_dump(mode="json"), "identity": "other"}]
    file.write_text(json.dumps({"keys": twice}))
    with pytest.raises(BadInput, match="more than once"):
        api_keys.read(file)
