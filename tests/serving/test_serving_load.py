"""What a model server does under load, with a model that is slow or raises, and when it is asked to end."""

import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.artifacts.signing import KeyPair
from tests.serving.conftest import Server, Start

CLIENTS = 4


def wait_busy(server: Server) -> None:
    """Return when the server has begun to compute for the request that was just sent."""
    process = psutil.Process(server.process.pid)
    before = process.cpu_times().user
    while process.cpu_times().user < before + 0.1:
        time.sleep(0.005)


def test_health_is_answered_while_the_model_computes(moody: Server) -> None:
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(moody.infer, "again")
        checks = 0
        while not slow.done():
            assert httpx.get(f"{moody.model_url}/ready").status_code == 200
            checks += not slow.done()
    assert slow.result().status_code == 200
    assert checks > 1


def test_an_error_of_the_model_reaches_only_the_request_that_caused_it(moody: Server) -> None:
    with ThreadPoolExecutor(9) as pool:
        pool.submit(moody.infer, "again")  # the others queue up behind it, so that they share a batch
        wait_busy(moody)
        texts = ["please", "why", "help", "today"] * 2
        answers = list(pool.map(moody.infer, texts))
    assert [answer.status_code for answer in answers] == [500 if text == "why" else 200 for text in texts]
    assert answers[1].json() == {"error": "the model could not process the request"}
    assert "event=inference_failed" in moody.log()
    assert "Traceback" not in moody.log()


def test_an_error_of_the_model_is_internal_over_grpc(moody: Server) -> None:
    with grpc.insecure_channel(moody.grpc) as channel, pytest.raises(grpc.RpcError) as failure:
        services.GRPCInferenceServiceStub(channel).ModelInfer(question("why"))
    assert failure.value.code() == grpc.StatusCode.INTERNAL
    assert failure.value.details() == "the model could not process the request"


def test_a_full_queue_answers_at_once_and_recovers(start: Start, moody_bundle: Path) -> None:
    """All texts are of one identity, whose own limit would end them before the queue is full."""
    one_stream = ("--threads", str(len(os.sched_getaffinity(0))))
    moody = start(moody_bundle, "--allow_unsigned", "--concurrency", "0", *one_stream).wait_ready()

    def many() -> httpx.Response:
        return moody.infer(*["please"] * 256)

    with ThreadPoolExecutor(16) as pool:
        slow = pool.submit(moody.infer, "again")
        wait_busy(moody)
        answers = [pool.submit(many) for _ in range(12)]
        refused = [answer.result() for answer in answers if answer.result().status_code == 429]
        assert slow.result().status_code == 200
    assert refused
    assert "texts are waiting" in refused[0].json()["error"]
    assert refused[0].headers["retry-after"] == "1"
    assert moody.infer("please").status_code == 200


def question(text: str) -> messages.ModelInferRequest:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [text.encode()]}}
    return messages.ModelInferRequest(model_name="messages", inputs=[tensor])


class Load:
    """Clients that ask without pause until they are told to go, or can no longer connect."""

    def __init__(self) -> None:
        self.answered = 0
        self.lost: list[str] = []
        self._lock = threading.Lock()

    def count(self, lost: str = "") -> None:
        with self._lock:
            if lost:
                self.lost.append(lost)
            else:
                self.answered += 1

    def rest(self, server: Server) -> None:
        """One kept connection; a client that is asked to close it does not come back."""
        body = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["late parcel"]}]}
        with httpx.Client(timeout=30) as client:
            closed = False
            while not closed:
                try:
                    answer = client.post(f"{server.model_url}/infer", json=body)
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    self.count(lost=repr(error))
                    return
                self.count(lost="" if answer.status_code == 200 else answer.text)
                closed = answer.headers.get("connection") == "close"

    def grpc(self, server: Server) -> None:
        """A channel of its own, without retries; UNAVAILABLE says that the call was not taken."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        with grpc.insecure_channel(server.grpc, options) as channel:
            stub = services.GRPCInferenceServiceStub(channel)
            while True:
                try:
                    stub.ModelInfer(question("late parcel"), timeout=30)
                except grpc.RpcError as error:
                    if (error.code().name, error.details()) != ("UNAVAILABLE", "the server is shutting down"):
                        self.count(lost=f"{error.code()} {error.details()}")
                    return
                self.count()


def test_no_accepted_request_is_lost_when_the_server_is_told_to_end_under_load(
    start: Start, signed_bundle: Path, keys: KeyPair
) -> None:
    server = start(signed_bundle, "--public_key", keys.public_key).wait_ready()
    rest, grpc_ = Load(), Load()
    with ThreadPoolExecutor(2 * CLIENTS) as pool:
        for _ in range(CLIENTS):
            pool.submit(rest.rest, server)
            pool.submit(grpc_.grpc, server)
        while min(rest.answered, grpc_.answered) < 50 and not rest.lost + grpc_.lost:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
    assert rest.lost + grpc_.lost == []
    assert min(rest.answered, grpc_.answered) >= 50
    assert server.process.wait(30) == 0
    assert "event=stopped" in server.log()


def begin_rest(server: Server, text: str) -> socket.socket:
    """Send a request; return when the server has begun to handle it."""
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = f"POST /v2/models/messages/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nExpect: 100-continue"
    connection = socket.create_connection(("127.0.0.1", server.http_port))
    connection.sendall(f"{head}\r\n\r\n".encode())
    assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
    connection.sendall(body)
    return connection


def test_requests_at_hand_are_answered_after_the_end_was_asked_for(start: Start, moody_bundle: Path) -> None:
    server = start(moody_bundle, "--allow_unsigned", "--drain_seconds", "0").wait_ready()
    with ThreadPoolExecutor(1) as pool, grpc.insecure_channel(server.grpc) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        stub.ModelInfer(question("please"))
        over_grpc = pool.submit(stub.ModelInfer, question("again"))
        wait_busy(server)
        with begin_rest(server, "again") as connection:
            assert not over_grpc.done()
            server.process.send_signal(signal.SIGTERM)
            over_rest = HTTPResponse(connection)
            over_rest.begin()
        assert over_rest.status == 200
        assert over_grpc.result().outputs
    assert server.process.wait(30) == 0


def test_a_draining_server_answers_but_is_not_ready(start: Start, signed_bundle: Path, keys: KeyPair) -> None:
    server = start(signed_bundle, "--public_key", keys.public_key, "--drain_seconds", "20").wait_ready()
    server.process.send_signal(signal.SIGTERM)
    while "event=draining" not in server.log():
        time.sleep(0.01)
    assert httpx.get(f"{server.model_url}/ready").status_code == 503
    assert httpx.get(f"{server.url}/v2/health/ready").status_code == 503
    assert httpx.get(f"{server.url}/v2/health/live").status_code == 200
    answer = server.infer("late parcel")
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
