"""A model server among clients that are idle, slow, huge or mad: those who behave are answered all the time."""

import json
import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from tests.serving.conftest import Server, Start

pytestmark = pytest.mark.alone

IDLE = 10_000
SPARE = 500
"""Descriptors that the tests need for themselves."""
PATIENCE_S = 2
MEGABYTE = 2**20
TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES"}
BODY = json.dumps({"inputs": [{**TENSOR, "data": ["late parcel"]}]}).encode()
HEAD = b"POST /v2/models/messages/infer HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SEED = 20261124


@pytest.fixture(scope="module")
def impatient(module_start: Start, moody_bundle: Path) -> Server:
    """A server that waits 2 seconds where the default is 10 or 30."""
    options = [f"--{name}_seconds={PATIENCE_S}" for name in ("header", "body", "send")]
    return module_start(moody_bundle, "--allow_unsigned", *options).wait_ready()


RETRY = {"maxAttempts": 3, "initialBackoff": "0.05s", "maxBackoff": "0.5s", "backoffMultiplier": 2}
RETRY_POLICY = {"methodConfig": [{"name": [{}], "retryPolicy": RETRY | {"retryableStatusCodes": ["UNAVAILABLE"]}}]}
"""A connection that a server under attack closes as it is made is tried again, as clients of gRPC are told to."""
CHANNEL = [("grpc.use_local_subchannel_pool", 1), ("grpc.service_config", json.dumps(RETRY_POLICY))]


@contextmanager
def well_behaved(server: Server) -> Iterator[list[Any]]:
    """Clients of both protocols that ask all the time; what they got, when the context ends."""
    over = threading.Event()
    found: list[Any] = []

    def rest(keep: bool) -> None:
        client = httpx.Client(timeout=60)
        while not over.is_set():
            post = client.post if keep else httpx.post
            try:
                found.append(post(f"{server.model_url}/infer", content=BODY, timeout=60).status_code)
            except httpx.HTTPError as error:
                found.append(repr(error))
            time.sleep(0.02)

    def remote() -> None:
        request = messages.ModelInferRequest(
            model_name="messages", inputs=[{**TENSOR, "contents": {"bytes_contents": [b"late parcel"]}}]
        )
        while not over.is_set():
            with grpc.insecure_channel(server.grpc, CHANNEL) as channel:
                try:
                    services.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
                    found.append(200)
                except grpc.RpcError as error:
                    found.append(f"{error.code()} {error.details()}")
            time.sleep(0.02)

    with ThreadPoolExecutor(3) as pool:
        for task in ((rest, True), (rest, False), (remote,)):
            pool.submit(*task)
        try:
            yield found
            until, enough = time.monotonic() + 60, len(found) + 9
            while len(found) < enough and time.monotonic() < until:  # they are still answered afterwards
                time.sleep(0.05)
        finally:
            over.set()
    assert len(found) >= enough
    assert set(found) == {200}


def connect(port: int, timeout: float = 60) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=timeout)


def said(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
def test_ten_thousand_connections_that_send_nothing_do_not_keep_others_out(impatient: Server, port: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    process = psutil.Process(impatient.process.pid)
    with ExitStack() as idle, well_behaved(impatient):
        for _ in range(min(IDLE, most - SPARE)):
            idle.enter_context(connect(getattr(impatient, port)))
    until = time.monotonic() + 60
    while process.num_fds() > SPARE and time.monotonic() < until:
        time.sleep(0.2)
    assert process.num_fds() <= SPARE


@pytest.mark.parametrize("start_of_head", [b"", b"POST /v2/mod", HEAD[:-4] % 100, b"\r\n\r\n"])
def test_a_head_that_does_not_come_ends_the_connection(impatient: Server, start_of_head: bytes) -> None:
    with connect(impatient.http_port) as connection:
        connection.sendall(start_of_head)
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 408") if start_of_head else answer == b""


def drip(connection: socket.socket, content: bytes, seconds: float) -> None:
    """Send a byte at a time until the other side has had enough."""
    connection.settimeout(seconds / len(content))
    with suppress(OSError):
        for byte in content:
            connection.sendall(bytes([byte]))
            with suppress(TimeoutError):
                if connection.recv(1, socket.MSG_PEEK) is not None:
                    break
    connection.settimeout(60)


def test_a_head_of_one_byte_a_second_is_not_waited_for(impatient: Server) -> None:
    with connect(impatient.http_port) as connection:
        drip(connection, HEAD % 100, seconds=60)
        assert said(connection).startswith(b"HTTP/1.1 408")


def test_a_second_head_on_the_same_connection_is_not_waited_for_either(impatient: Server) -> None:
    with connect(impatient.http_port) as connection:
        connection.sendall(HEAD % len(BODY) + BODY)
        while b'"outputs"' not in connection.recv(65536, socket.MSG_PEEK):
            time.sleep(0.05)
        connection.sendall(HEAD[:20])
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


def test_a_body_that_does_not_come_ends_the_request(impatient: Server) -> None:
    with connect(impatient.http_port) as connection, well_behaved(impatient):
        connection.sendall(HEAD % len(BODY) + BODY[:10])
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"the body did not arrive within 2 s" in answer


def test_a_client_that_reads_slowly_is_given_up_and_does_not_keep_others_waiting(impatient: Server) -> None:
    """It asks for much and reads next to nothing; its connection is cut while answers wait in memory."""
    texts = json.dumps({"inputs": [{**TENSOR, "shape": [256], "data": ["parcel"] * 256}]}).encode()
    with socket.socket() as connection, well_behaved(impatient):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", impatient.http_port))
        connection.settimeout(30)
        broken = False
        until = time.monotonic() + 60
        while not broken and time.monotonic() < until:
            try:
                connection.sendall(HEAD % len(texts) + texts)
            except OSError:
                broken = True
            time.sleep(0.05)  # so that few requests wait when the time is over
    assert broken
    assert "event=slow_reader" in impatient.log()


def test_a_message_of_grpc_that_does_not_come_ends_the_call(impatient: Server) -> None:
    """A stream of requests on the wire where the method has one: the call begins, and its message never comes."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    with grpc.insecure_channel(impatient.grpc) as channel, well_behaved(impatient):
        method = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as failure:
            method(nothing(), timeout=60)
        over.set()
    assert failure.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "did not arrive within 2 s" in failure.value.details()


def parts(megabytes: int) -> Iterator[bytes]:
    for _ in range(megabytes):
        yield b" " * MEGABYTE


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_of_100_megabytes_is_refused_with_an_answer_and_not_kept(impatient: Server, declared: bool) -> None:
    process = psutil.Process(impatient.process.pid)
    before = process.memory_info().rss
    headers = {"content-length": str(100 * MEGABYTE)} if declared else {}
    with well_behaved(impatient):
        answer = httpx.post(f"{impatient.model_url}/infer", content=parts(100), headers=headers, timeout=60)
    assert (answer.status_code, list(answer.json())) == (413, ["error"])
    assert process.memory_info().rss - before < 60 * MEGABYTE


def test_a_message_of_grpc_of_100_megabytes_is_refused(impatient: Server) -> None:
    request = messages.ModelInferRequest(
        model_name="messages", inputs=[{**TENSOR, "contents": {"bytes_contents": [b"a" * 100 * MEGABYTE]}}]
    )
    with grpc.insecure_channel(impatient.grpc) as channel, well_behaved(impatient):
        with pytest.raises(grpc.RpcError) as failure:
            services.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
        assert failure.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_head_without_end_is_refused(impatient: Server) -> None:
    with connect(impatient.http_port) as connection, well_behaved(impatient):
        with suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\n")
            for number in range(4000):
                connection.sendall(b"header-%d: %s\r\n" % (number, b"a" * 1000))
        assert said(connection)[:12] in (b"HTTP/1.1 431", b"")  # a reset may overtake the answer
    assert "status=431" in impatient.log()


def test_chunks_that_are_nearly_all_framing_are_refused(impatient: Server) -> None:
    head = b"POST /v2/models/messages/infer HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    with connect(impatient.http_port) as connection:
        with suppress(ConnectionError):
            connection.sendall(head)
            for _ in range(3000):
                connection.sendall(b"1;" + b"x" * 8000 + b"\r\na\r\n")
        said(connection)
    assert "the framing of the body" in impatient.log()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * MEGABYTE,
        b'{"a":' * (MEGABYTE // 8),
        b'{"inputs": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ' + b"[" * 900 + b"]" * 900 + b"}]}",
        b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"inputs": [{"name": "text", "shape": [' + b"9" * 5000 + b'], "datatype": "BYTES", "data": []}]}',
    ],
)
@pytest.mark.parametrize("path", ["/v2/models/messages/infer", "/v1/models/messages:predict"])
def test_deeply_nested_json_is_a_bad_request(impatient: Server, body: bytes, path: str) -> None:
    answer = httpx.post(impatient.url + path, content=body, timeout=60)
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error"]


def random_bytes(dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(1, 2000))


def broken_http(dice: random.Random) -> bytes:
    """A good request with a few bytes changed, cut out or repeated."""
    content = bytearray(HEAD % len(BODY) + BODY)
    for _ in range(dice.randrange(1, 6)):
        place = dice.randrange(len(content))
        change = dice.randrange(3)
        if change == 0:
            content[place] = dice.randrange(256)
        elif change == 1:
            del content[place : place + dice.randrange(1, 20)]
        else:
            content[place:place] = content[place : place + dice.randrange(1, 50)] * dice.randrange(1, 20)
    return bytes(content)


def broken_http2(dice: random.Random) -> bytes:
    """The start of HTTP/2, then frames of random kind, flags, stream and content."""
    frames = []
    for _ in range(dice.randrange(1, 10)):
        content = dice.randbytes(dice.randrange(0, 200))
        head = len(content).to_bytes(3, "big") + bytes([dice.randrange(12), dice.randrange(256)])
        frames.append(head + dice.randrange(8).to_bytes(4, "big") + content)
    return PREFACE + SETTINGS + b"".join(frames)


def random_json(dice: random.Random, depth: int = 4) -> Any:
    """Something that looks a little like a request."""
    names = ["inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "id", "instances", "text", "BYTES"]
    kinds: list[Callable[[], Any]] = [
        lambda: dice.choice(names),
        lambda: dice.choice([None, True, -1, 0, 1.5, 10**20, "", "\ud800", "BYTES", "FP32"]),
    ]
    if depth:
        kinds += [
            lambda: [random_json(dice, depth - 1) for _ in range(dice.randrange(3))],
            lambda: {dice.choice(names): random_json(dice, depth - 1) for _ in range(dice.randrange(5))},
        ]
    return dice.choice(kinds)()


@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
@pytest.mark.parametrize("make", [random_bytes, broken_http, broken_http2])
def test_random_bytes_on_a_port_harm_nobody_else(
    impatient: Server, port: str, make: Callable[[random.Random], bytes]
) -> None:
    dice = random.Random(SEED)
    with well_behaved(impatient):
        for _ in range(100):
            with connect(getattr(impatient, port)) as connection, suppress(OSError):
                connection.sendall(make(dice))
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.05)
                connection.recv(65536)
    assert impatient.process.poll() is None
    assert "Traceback" not in impatient.log()


@pytest.mark.parametrize("path", ["/v2/models/messages/infer", "/v1/models/messages:predict", "/v2/repository/index"])
def test_random_json_is_answered_with_an_error_of_the_client(impatient: Server, path: str) -> None:
    dice = random.Random(SEED)
    with httpx.Client(base_url=impatient.url, timeout=60) as client:
        for _ in range(200):
            body = json.dumps({"inputs": random_json(dice), "instances": random_json(dice)}).encode()
            status = client.post(path, content=body).status_code
            assert status in (200, 400, 422), body
    assert "Traceback" not in impatient.log()
