"""Requests whose framing is meant to harm: many at once, trailers, upgrades, answers that nobody reads."""

import asyncio
import json
import socket
import time
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.serving.grpc_api import health
from slipway.serving.rest_api.connection import FRAMING_SLACK, PIPELINED, _Joining
from tests.serving.conftest import Server, Start

LIVE = b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\n\r\n"
INFER = b"POST /v2/models/messages/infer HTTP/1.1\r\nhost: a\r\n"
BODY = json.dumps({"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["late parcel"]}]}).encode()


def connected(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.http_port), timeout=60)


def answers(connection: socket.socket) -> list[int]:
    """The statuses that come until the connection is closed."""
    received = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(1 << 16):
            received += data
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def test_requests_that_do_not_wait_for_answers_are_answered_in_turn_up_to_a_number(server: Server) -> None:
    with connected(server) as connection:
        connection.sendall(LIVE * PIPELINED + LIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        assert answers(connection) == [200] * (PIPELINED + 1)


def test_requests_beyond_that_number_end_the_connection(server: Server) -> None:
    with connected(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(LIVE * 20_000)
        assert answers(connection).count(200) < 1000
    assert server.infer("late parcel").status_code == 200


UPGRADE = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"


def test_an_upgrade_is_ignored_and_a_body_behind_it_is_not_taken_for_a_request(server: Server) -> None:
    sized = INFER + UPGRADE + b"content-length: %d\r\n\r\n"
    chunked = INFER + UPGRADE + b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    without = LIVE.replace(b"\r\n\r\n", b"\r\n" + UPGRADE + b"\r\n")
    last = LIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    with connected(server) as connection:  # as Java's client sends them, and others behind them
        connection.sendall(sized % len(BODY) + BODY + without + chunked + LIVE + without + last)
        assert answers(connection) == [200] * 6
    with connected(server) as connection:
        connection.sendall(sized % len(LIVE) + LIVE + last)
        assert answers(connection) == [400, 200]  # the body is no JSON, and no request
    with connected(server) as connection:  # in pieces
        for part in (sized[:40], sized[40:] % len(BODY), BODY[:9], BODY[9:], last):
            connection.sendall(part)
            time.sleep(0.02)
        assert answers(connection) == [200, 200]


@pytest.fixture(scope="module")
def closed(
    module_start: Start, signed_bundle: Path, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Server, str]:
    """A server that asks for a key, and the key."""
    file = tmp_path_factory.mktemp("api-keys") / "api-keys.json"
    _, key = api_keys.add(file, "tests", [Scope.PREDICT])
    return module_start(signed_bundle, "--public_key", keys.public_key, "--api_keys", file).wait_ready(), key


def test_a_key_behind_the_body_is_no_key(closed: tuple[Server, str]) -> None:
    server, key = closed
    chunked = INFER + b"transfer-encoding: chunked\r\nconnection: close\r\n"
    body = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY)
    field = b"authorization: Bearer " + key.encode() + b"\r\n"
    for request, status in ((chunked + field + b"\r\n" + body, 200), (chunked + b"\r\n" + body + field, 401)):
        with connected(server) as connection:
            connection.sendall(request + b"\r\n")
            assert answers(connection) == [status]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /v2/health/live HTTP/1.1\r\n", 400),
        (b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\nhost: a\r\n", 400),
        (b"GET /v2/health/live HTTP/1.1\r\nhost: a\r\nHost: b\r\n", 400),
        (b"GET /v2/health/live HTTP/1.0\r\n", 200),
        (INFER + b"transfer-encoding: gzip, chunked\r\n", 501),
        (INFER + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 400),
        (INFER + b"transfer-encoding: Chunked\r\nconnection: close\r\n", 400),  # the body is not JSON
    ],
)
def test_a_head_is_read_in_one_way_only(server: Server, head: bytes, status: int) -> None:
    with connected(server) as connection:
        connection.sendall(head + b"\r\n" + b"0\r\n\r\n" * (b"chunked" in head.lower()))
        assert answers(connection)[0] == status


@pytest.mark.parametrize(("given", "status"), [(b"", b"401"), (b"authorization: Bearer slipway_no\r\n", b"401")])
def test_a_body_is_not_asked_for_before_the_key_is_looked_at(
    closed: tuple[Server, str], given: bytes, status: bytes
) -> None:
    server, _ = closed
    with connected(server) as connection:
        connection.sendall(INFER + given + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY))
        assert connection.recv(12).endswith(status)  # and not 100
        connection.settimeout(3)
        while connection.recv(1000):
            pass


def test_a_body_is_asked_for_once_the_key_is_good(closed: tuple[Server, str]) -> None:
    server, key = closed
    fields = f"authorization: Bearer {key}\r\nexpect: 100-continue\r\nconnection: close\r\n".encode()
    with connected(server) as connection:
        connection.sendall(INFER + fields + b"content-length: %d\r\n\r\n" % len(BODY))
        assert connection.recv(12).endswith(b"100")
        connection.sendall(BODY)
        assert answers(connection)[-1] == 200


def test_a_refused_client_that_sends_its_small_body_a_moment_later_keeps_its_connection(
    closed: tuple[Server, str],
) -> None:
    server, key = closed
    body = b"content-length: %d\r\n\r\n" % len(BODY)
    with connected(server) as connection:
        connection.sendall(INFER + body)
        connection.sendall(BODY)
        while b"}" not in connection.recv(1000):
            pass
        connection.sendall(INFER + f"authorization: Bearer {key}\r\nconnection: close\r\n".encode() + body + BODY)
        assert answers(connection) == [200]


def test_fields_behind_the_body_without_end_end_the_connection(closed: tuple[Server, str]) -> None:
    server, _ = closed
    sent = 0
    with connected(server) as connection, suppress(ConnectionError):
        connection.sendall(INFER + b"transfer-encoding: chunked\r\n\r\n0\r\n")
        while sent < 1000 * FRAMING_SLACK:
            sent += connection.send(b"x-more: %b\r\n" % (b"x" * 1000) * 100)
    assert sent < 100 * FRAMING_SLACK  # what the sockets of both sides hold, and the limit


class _Transport(asyncio.Transport):
    """Remembers the limits of its buffer."""

    high = -1
    closed = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:  # noqa: ARG002
        self.high = high or 0

    def write(self, data: object) -> None:
        """Keep it: nobody reads."""

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def test_a_closing_connection_hears_of_a_reader_who_does_not_read() -> None:
    transport = _Transport()
    joining = _Joining(transport)
    joining.write(b"HTTP/1.1 200 OK\r\n\r\n")  # of a HEAD request: no body follows
    assert transport.high > 1
    joining.close()
    assert (transport.high, transport.closed) == (1, True)


def test_those_who_watch_health_are_counted(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watching = []
        for _ in range(health.WATCHERS):  # one after the other: of many that open at once the oldest are refused
            watching.append(stub.Watch(health_pb2.HealthCheckRequest(), timeout=60))
            assert next(iter(watching[-1])).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as refused:
            next(iter(stub.Watch(health_pb2.HealthCheckRequest(), timeout=60)))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in watching:
            call.cancel()
        assert stub.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
