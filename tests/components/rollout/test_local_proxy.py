"""Real Envoy in front of two small servers: copies of requests, and clients that stay where they are."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import pytest

from slipway.components.clients.grpc_client import v2_messages
from slipway.components.rollout.local import processes
from slipway.components.rollout.local.envoy import Envoy
from slipway.components.rollout.local.envoy_config import VERSION_HEADER, Assignment, Upstream
from slipway.components.rollout.local.traffic_mirror import FRAME, Tap, texts_of, texts_of_call

MESSAGES, SERVICES = v2_messages()


def serve(label: str) -> ThreadingHTTPServer:
    """A model server that answers every text with one label."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"outputs": [{"name": "label", "data": [label]}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def grpc_server() -> Iterator[int]:
    """The port of a model server that answers every call with nothing in it."""

    class Servicer(SERVICES.GRPCInferenceServiceServicer):  # type: ignore[misc,name-defined]
        def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
            return MESSAGES.ModelInferResponse(model_name="m")

    server = grpc.server(futures.ThreadPoolExecutor(2))
    SERVICES.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait()


@pytest.fixture
def site(tmp_path: Path, grpc_server: int) -> Iterator[SimpleNamespace]:
    """Envoy before versions 1 and 2, and a tap."""
    servers = [serve("old"), serve("new")]
    champion, challenger = ups = [
        Upstream(str(number), server.server_port, grpc_server) for number, server in enumerate(servers, 1)
    ]
    envoy, tap = Envoy(tmp_path / "envoy", tmp_path / "envoy.log"), Tap()
    envoy.put_clusters(ups, str(tap.path), running=False)
    envoy.put_routes(champion, challenger, Assignment(), running=False)
    port, grpc_port = processes.free_ports(2)
    daemon = envoy.start("127.0.0.1", port, grpc_port)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)

    def ask(text: str, **headers: str) -> str:
        body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}]}
        answer = client.post("/v2/models/m/infer", json=body, headers=headers)
        assert answer.status_code == 200
        return answer.headers[VERSION_HEADER]

    try:
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            call = SERVICES.GRPCInferenceServiceStub(channel).ModelInfer
            yield SimpleNamespace(
                ask=ask,
                port=port,
                call=call,
                tap=tap,
                route=lambda given: envoy.put_routes(champion, challenger, given, running=True),
            )
    finally:
        client.close()
        daemon.stop(5.0)
        tap.close()
        for server in servers:
            server.shutdown()


def copies(tap: Tap, expected: int) -> list[str]:
    """What the tap gets; copies come a moment after the answer."""
    found: list[str] = []
    end = time.monotonic() + 20
    while len(found) < expected and time.monotonic() < end:
        found += tap.take()
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    "head",
    [
        "POST /v2/models/m/infer HTTP/1.0\r\n",
        "POST /v2/models/m/infer HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n"
        "http2-settings: AAMAAABk\r\n",
    ],
)
def test_old_clients_and_those_that_ask_for_http_2_are_answered(site: SimpleNamespace, head: str) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as connection:
        connection.sendall(f"{head}content-length: 2\r\n\r\n{{}}".encode())
        assert connection.recv(100).split()[1] == b"200"


def test_copies_reach_the_tap_and_clients_get_the_champions_answer(site: SimpleNamespace) -> None:
    site.route(Assignment(copied_percent=100))
    texts = [f"text {number}" for number in range(20)]
    assert {site.ask(text) for text in texts} == {"1"}
    assert sorted(copies(site.tap, 20)) == sorted(texts)
    site.route(Assignment(copied_percent=30))
    for number in range(200):
        site.ask(f"more {number}")
    site.route(Assignment(copied_percent=100))
    site.ask("the last")
    found: list[str] = []
    for text in iter(lambda: copies(site.tap, 1), []):
        found += text
        if "the last" in found:
            break
    assert "the last" in found
    assert 30 <= len(found) - 1 <= 95


def call_of(*texts: bytes, raw: bool = False, name: str = "text") -> Any:
    """The message of a call of ModelInfer."""
    tensor = {"name": name, "shape": [len(texts)], "datatype": "BYTES"}
    if raw:
        elements = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        return MESSAGES.ModelInferRequest(model_name="m", inputs=[tensor], raw_input_contents=[elements])
    return MESSAGES.ModelInferRequest(model_name="m", inputs=[tensor | {"contents": {"bytes_contents": texts}}])


def test_copies_of_grpc_calls_reach_the_tap_too(site: SimpleNamespace) -> None:
    site.route(Assignment(copied_percent=100))
    texts = [f"text {number}" for number in range(20)]
    for number, text in enumerate(texts):
        assert site.call(call_of(text.encode(), raw=number % 2 == 0), wait_for_ready=True).model_name == "m"
    assert sorted(copies(site.tap, 20)) == sorted(texts)
    large = "x" * 100_000  # more than a packet
    site.call(call_of(large.encode()))
    assert copies(site.tap, 1) == [large]


def test_clients_are_served_when_the_tap_is_gone(site: SimpleNamespace) -> None:
    site.route(Assignment(copied_percent=100))
    site.tap.close()
    assert {site.ask("hello") for _ in range(20)} == {"1"}


def test_a_client_stays_with_its_version_and_with_the_challenger_when_its_share_grows(site: SimpleNamespace) -> None:
    site.route(Assignment(20, "x-user"))
    users = [f"user-{number}" for number in range(150)]
    first = {user: site.ask("hello", **{"x-user": user}) for user in users}
    assert {user: site.ask("again", **{"x-user": user}) for user in users} == first
    assert 10 <= list(first.values()).count("2") <= 55
    site.route(Assignment(60, "x-user"))
    later = {user: site.ask("hello", **{"x-user": user}) for user in users}
    assert all(later[user] == "2" for user in users if first[user] == "2")
    assert list(later.values()).count("2") > list(first.values()).count("2")


def test_without_the_header_chance_decides(site: SimpleNamespace) -> None:
    site.route(Assignment(50, "x-user"))
    assert {site.ask("hello") for _ in range(40)} == {"1", "2"}


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (b'{"inputs": [{"name": "text", "data": ["a", "b"]}]}', ["a", "b"]),
        (b'{"instances": ["a"]}', ["a"]),
        (b'{"inputs": [{"name": "other", "data": ["a"]}]}', []),
        (b'{"instances": {"a": 1}}', []),
        (b"[1, 2]", []),
        (b"\x00\x01", []),
        (b"3", []),
    ],
)
def test_the_texts_of_a_request(body: bytes, texts: list[str]) -> None:
    assert texts_of(body) == texts


def framed(message: Any, compressed: bool = False) -> bytes:
    body: bytes = message.SerializeToString()
    return FRAME.pack(compressed, len(body)) + body


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (framed(call_of(b"a", b"b")), ["a", "b"]),
        (framed(call_of(b"a", b"b", raw=True)), ["a", "b"]),
        (framed(call_of(b"a"), compressed=True), []),
        (framed(call_of(b"a", name="other")), []),
        (framed(call_of(b"\xff")), []),
        (framed(call_of(b"abc", raw=True))[:-2], []),
        (b"\x00\x00\x00\x00\x02\xff\xff", []),
        (b"\x00", []),
        (b"", []),
    ],
)
def test_the_texts_of_a_call(body: bytes, texts: list[str]) -> None:
    assert texts_of_call(body) == texts


def test_the_tap_is_for_its_user_alone() -> None:
    tap = Tap()
    try:
        assert tap.path.parent.stat().st_mode & 0o077 == 0
    finally:
        tap.close()
    assert not tap.path.parent.exists()
