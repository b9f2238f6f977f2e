"""Real Envoy before two servers that ask for a key: what strangers send is no evidence, and Envoy's limits hold."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import grpc
import httpx
import pytest

from slipway.components.clients.grpc_client import v2_messages
from slipway.components.rollout.analysis.evidence import Evidence
from slipway.components.rollout.analysis.verdict import Stage, Verdict, analyse
from slipway.components.rollout.counter_resets import since
from slipway.components.rollout.local import envoy_edge, processes
from slipway.components.rollout.local.envoy import Envoy
from slipway.components.rollout.local.envoy_config import VERSION_HEADER, Assignment, Upstream
from slipway.components.rollout.local.traffic_mirror import Tap
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Counts, Pair

KEY = {"x-api-key": "good"}
BODY = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["hello"]}]}
PATH = "/v2/models/m/infer"
MESSAGES, SERVICES = v2_messages()


def serve(status: int, seconds: float = 0.0) -> ThreadingHTTPServer:
    """A model server that refuses whoever has no key, and answers others with one status after a while."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet

        def do_POST(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers["content-length"]))
            self.server.asked.set()  # type: ignore[attr-defined]
            known = self.headers.get("x-api-key") == "good"
            threading.Event().wait(seconds if known else 0)
            body = json.dumps({"outputs": [{"name": "label", "data": ["a"]}]}).encode()
            self.send_response(status if known else 401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., SimpleNamespace]]:
    """Start Envoy before a champion (version 1), which is slow, and a challenger, which fails on all that it admits."""
    ends: list[Callable[[], object]] = []

    def start() -> SimpleNamespace:
        servers = [serve(200, seconds=0.03), serve(500)]
        champion, challenger = upstreams = [
            Upstream(str(number), server.server_port, 9) for number, server in enumerate(servers, 1)
        ]
        envoy, tap = (
            Envoy(tmp_path / "envoy", tmp_path / "envoy.log"),
            Tap(lambda sent: sent.get("x-api-key") == "good"),
        )
        envoy.put_clusters(upstreams, str(tap.path), running=False)
        envoy.put_routes(champion, challenger, Assignment(), running=False)
        port, grpc_port = processes.free_ports(2)
        daemon = envoy.start("127.0.0.1", port, grpc_port)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20)
        ends.extend((client.close, lambda: daemon.stop(5.0), tap.close, *(server.shutdown for server in servers)))
        return SimpleNamespace(
            client=client,
            port=port,
            grpc_port=grpc_port,
            tap=tap,
            champion_asked=servers[0].asked,  # type: ignore[attr-defined]
            route=lambda given: envoy.put_routes(champion, challenger, given, running=True),
            counts=lambda: envoy.counts(upstreams),
        )

    yield start
    for end in ends:
        end()


def test_refusals_of_a_stranger_hide_neither_failures_nor_slowness(site: Callable[[], SimpleNamespace]) -> None:
    here, rules = site(), RolloutSettings().rules()
    for _ in range(20):
        assert here.client.post(PATH, json=BODY, headers=KEY).status_code == 200
    assert {here.client.post(PATH, json=BODY).status_code for _ in range(200)} == {401}
    champion = here.counts()["1"]
    assert (champion.requests, champion.latencies.total) == (20, 20)
    assert champion.latencies.quantile(0.05) > 25  # of the refusals none takes so long

    here.route(Assignment(50))
    pairs = [(Pair("a", "a"), "a")] * 400
    evidence = (
        Evidence().measured(champion, 100.0, rules.margins, 1.0).with_pairs(pairs).at_new_step(50, by_chance=True)
    )
    last = here.counts()
    for _ in range(8):
        statuses = {here.client.post(PATH, json=BODY).status_code for _ in range(196)}
        statuses |= {here.client.post(PATH, json=BODY, headers=KEY).status_code for _ in range(8)}
        assert statuses <= {401, 200, 500}
        now = here.counts()
        old, new = (since(now[version], last.get(version, Counts())) for version in ("1", "2"))
        evidence, last = evidence.with_block(old, new).with_split(old.requests, new.requests), now
    found = analyse(evidence, rules, Stage(False, last["2"].requests, 20))
    assert found.verdict is Verdict.ROLL_BACK, found.reason
    assert last["1"].requests - champion.requests + last["2"].requests == 8 * 8
    assert last["2"].errors == last["2"].requests
    assert last["2"].latencies.total == 0


def test_a_client_that_goes_is_neither_a_success_nor_a_failure(site: Callable[[], SimpleNamespace]) -> None:
    here = site()
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\nx-api-key: good\r\ncontent-length: 0\r\n\r\n"
    with socket.create_connection(("127.0.0.1", here.port)) as connection:
        connection.sendall(head.encode())
        assert here.champion_asked.wait(10)  # it is on its way, and its answer takes longer than it is to go
    end = time.monotonic() + 10
    while not (found := here.counts()["1"]).abandoned and time.monotonic() < end:
        pass
    assert (found.requests, found.errors, found.abandoned) == (0, 0, 1)


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/m/inf%65r",
        "//v2//models/m/infer",
        "/v2/models/x/../m/./infer",
        "/v2/models/m/infer?a=%2F",
        "/v2/models/m/versions/1/infer",
        "/v1/models/m:predict",
        "/v1/models/m%3Apredict",
        "/v1/models/m%3aexplai%6E",
    ],
)
def test_a_prediction_counts_for_who_answers_it_however_its_path_is_written(
    site: Callable[[], SimpleNamespace], path: str
) -> None:
    here = site()
    here.route(Assignment(100))
    status, version = raw(here.port, path)
    assert (status, version) == (500, "2")
    assert here.counts()["2"].requests == 1


def raw(port: int, path: str, *headers: str) -> tuple[int, str]:
    """Status and version that answer exactly this path."""
    head = "\r\n".join([f"POST {path} HTTP/1.1", "host: a", "x-api-key: good", "content-length: 0", *headers])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(f"{head}\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode("latin-1")
    lines = answer.partition("\r\n\r\n")[0].split("\r\n")
    found = dict(line.split(": ", 1) for line in lines[1:])
    assert "envoy" not in found.get("server", "")
    return int(lines[0].split()[1]), found.get(VERSION_HEADER, "")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v2/models%2Fm/infer", ()),
        ("/v2/models/m%5Cinfer", ()),
        (PATH, ("x_api_key: good",)),
        (PATH, tuple(f"x-{number}: 1" for number in range(120))),
    ],
    ids=["escaped slash", "escaped backslash", "underscore", "many headers"],
)
def test_what_could_be_read_in_two_ways_or_is_too_much_reaches_no_server(
    site: Callable[[], SimpleNamespace], path: str, headers: tuple[str, ...]
) -> None:
    here = site()
    status, version = raw(here.port, path, *headers)
    assert status in (400, 431)
    assert version == ""
    assert here.counts()["1"] == Counts()


def test_what_is_no_call_counts_as_nobodys_failure(site: Callable[[], SimpleNamespace]) -> None:
    here = site()
    url = f"http://127.0.0.1:{here.grpc_port}/inference.GRPCInferenceService/ModelInfer"
    assert httpx.post(url, content=b"x", trust_env=False).status_code >= 400
    assert here.counts()["1"] == Counts()
    with grpc.insecure_channel(f"127.0.0.1:{here.grpc_port}") as channel, pytest.raises(grpc.RpcError):
        SERVICES.GRPCInferenceServiceStub(channel).ModelInfer(MESSAGES.ModelInferRequest(model_name="m"), timeout=10)
    assert here.counts()["1"].errors == 1  # nothing listens there: that is a failure of the revision


def test_texts_of_strangers_are_not_put_to_both_revisions(site: Callable[[], SimpleNamespace]) -> None:
    here = site()
    here.route(Assignment(copied_percent=100))
    for number in range(40):
        here.client.post(PATH, json=BODY)
        if number % 20 == 0:
            here.client.post(PATH, json=BODY, headers=KEY)
    found: list[str] = []
    end = time.monotonic() + 20
    while len(found) < 2 and time.monotonic() < end:
        found += here.tap.take()
    assert here.client.post(PATH, json=BODY).status_code == 401
    assert found + here.tap.take() == ["hello", "hello"]


def test_slow_heads_and_crowds_of_connections_end(
    site: Callable[[], SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(envoy_edge.CONNECTION_MANAGER, "request_headers_timeout", "0.5s")
    monkeypatch.setattr(envoy_edge, "MOST_CONNECTIONS", 20)
    here = site()
    crowd = [socket.create_connection(("127.0.0.1", here.port), timeout=10) for _ in range(60)]
    try:
        for connection in crowd[:20]:
            connection.sendall(b"POST / HTTP/1.1\r\nhost:")
        assert [connection.recv(1) for connection in crowd[20:]] == 40 * [b""]  # refused at once
        began = time.monotonic()
        assert {connection.recv(12) for connection in crowd[:20]} == {b"HTTP/1.1 408"}
        assert time.monotonic() - began < 5
    finally:
        for connection in crowd:
            connection.close()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            assert here.client.post(PATH, json=BODY, headers=KEY).status_code == 200
            return
        except httpx.TransportError:
            continue
    raise AssertionError("nobody is served after the crowd has gone")
