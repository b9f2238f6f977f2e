"""Nobody keeps others out by holding connections, whatever they show on them: each is counted when it is accepted."""

import socket
import ssl
import time
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from tests.authority import Authority
from tests.serving.conftest import Server, Start
from tests.serving.strangers import connections, open_at

pytestmark = pytest.mark.alone

PLACES = 50
STRANGERS = 300
BODY = b'{"instances": ["late parcel"]}'
HEAD = b"POST /v1/models/messages:predict HTTP/1.1\r\nhost: a\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.fixture(scope="module")
def narrow(module_start: Start, moody_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, str]:
    """A server with few places, and a key."""
    file = tmp_path_factory.mktemp("keys") / "api-keys.json"
    _, key = api_keys.add(file, "tests", [Scope.PREDICT])
    options = ("--max_connections", str(PLACES), "--api_keys", file)
    return module_start(moody_bundle, "--allow_unsigned", *options).wait_ready(), key


def predict(server: Server, key: str, **more: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{server.url}/v1/models/messages:predict", content=BODY, headers=headers, timeout=2, **more)


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"content-length: 1\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n",
        HEAD + b"expect: 100-continue\r\ncontent-length: 1\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n",
        b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n",
        b"",
    ],
)
def test_heads_without_bodies_lock_nobody_out(narrow: tuple[Server, str], head: bytes) -> None:
    server, key = narrow
    with connections(server.http_port, STRANGERS, head):
        began = time.monotonic()
        assert [predict(server, key).status_code for _ in range(5)] == [200] * 5
        assert time.monotonic() - began < 5
        assert open_at(server, server.http_port) <= PLACES


def test_callers_whose_bodies_do_not_come_make_room_for_others(narrow: tuple[Server, str]) -> None:
    server, key = narrow
    head = HEAD + f"authorization: Bearer {key}\r\ncontent-length: 9\r\n\r\n".encode()
    with connections(server.http_port, STRANGERS, head):
        assert predict(server, key).status_code == 200


def test_a_caller_whose_body_is_on_its_way_is_not_ended_for_strangers(narrow: tuple[Server, str]) -> None:
    server, key = narrow
    head = f"authorization: Bearer {key}\r\nexpect: 100-continue\r\ncontent-length: {len(BODY)}\r\n\r\n".encode()
    with connections(server.http_port, 1, HEAD + head) as (caller,):
        assert caller.recv(2000).startswith(b"HTTP/1.1 100 ")  # what it sent has been seen
        with connections(server.http_port, STRANGERS, HEAD + b"content-length: 1\r\n\r\n"):
            caller.sendall(BODY)
            assert caller.recv(2000).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("path", [b"/v2/models/messages/infer", b"/v2/health/live"])
def test_an_answered_connection_whose_body_does_not_come_lingers_for_about_a_second(
    narrow: tuple[Server, str], path: bytes
) -> None:
    server, _ = narrow
    with connections(server.http_port, 1, b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n" % path) as (one,):
        began = time.monotonic()
        while one.recv(2000):
            pass
        assert time.monotonic() - began < 3


def test_handshakes_of_tls_are_counted_and_lock_nobody_out(start: Start, moody_bundle: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    certificate, key_file = authority.issue("localhost")
    options = ("--max_connections", str(PLACES), "--tls_cert", certificate, "--tls_key", key_file)
    server = start(moody_bundle, "--allow_unsigned", *options)
    context = ssl.create_default_context(cafile=str(authority.path))
    wait_ready(server, context)
    url = f"https://localhost:{server.http_port}/v1/models/messages:predict"
    for content in (b"", b"\x16\x03\x01\x02\x00"):
        with connections(server.http_port, STRANGERS, content):
            for _ in range(3):
                assert httpx.post(url, content=BODY, verify=context, timeout=5).status_code == 200
            assert open_at(server, server.http_port) <= PLACES


def wait_ready(server: Server, context: ssl.SSLContext) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if httpx.get(f"https://localhost:{server.http_port}/v2/health/ready", verify=context).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(server.log())


def infer(stub: Any, key: str, **more: Any) -> Any:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"late parcel"]}}
    request = messages.ModelInferRequest(model_name="messages", inputs=[tensor])
    return stub.ModelInfer(request, metadata=(("authorization", f"Bearer {key}"),), timeout=10, **more)


@pytest.mark.parametrize("content", [b"", PREFACE])
def test_connections_of_grpc_are_counted_and_those_of_callers_stay(narrow: tuple[Server, str], content: bytes) -> None:
    server, key = narrow
    with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        infer(stub, key)
        with connections(server.grpc_port, STRANGERS, content) as strangers:
            until = time.monotonic() + 10
            while sum(map(ended, strangers)) < STRANGERS - PLACES and time.monotonic() < until:
                time.sleep(0.05)
            assert open_at(server, server.grpc_port) <= PLACES
            infer(stub, key)  # on the same connection, which is older than the others
            with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as another:
                infer(services.GRPCInferenceServiceStub(another), key, wait_for_ready=True)


def ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    connection.settimeout(0.001)
    try:
        while connection.recv(1000):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True
