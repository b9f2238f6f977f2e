"""Nobody fills the memory of a server, with a key or without: its growth is measured while many try."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from tests.serving.conftest import Server, Start
from tests.serving.strangers import MEGABYTE, Growth, calls, connections, pour

pytestmark = pytest.mark.alone

CHECK = "/grpc.health.v1.Health/Check"
INFER = "/inference.GRPCInferenceService/ModelInfer"
ABOVE = 8 * MEGABYTE
WITHIN = MEGABYTE - 100
"""Bytes that a request may have by default."""


Fresh = Callable[..., tuple[Server, str]]


@pytest.fixture
def fresh(start: Start, moody_bundle: Path, tmp_path: Path) -> Fresh:
    """Start a server that asks for a key; it, and a key."""

    def begin(*options: str) -> tuple[Server, str]:
        file = tmp_path / "api-keys.json"
        _, key = api_keys.add(file, "tests", [Scope.PREDICT])
        return start(moody_bundle, "--allow_unsigned", "--api_keys", file, *options).wait_ready(), key

    return begin


@pytest.mark.parametrize("path", ["/", "/v2/health/live", "/v2/health/ready", "/v2/models/messages/ready"])
def test_the_body_of_an_open_path_is_not_read(fresh: Fresh, path: str) -> None:
    server, _ = fresh()
    head = f"GET {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {ABOVE}\r\n\r\n".encode()
    with Growth(server) as growth, connections(server.http_port, 127, head) as strangers:
        answers = [stranger.recv(100) for stranger in strangers[:3]]
        pour(strangers, ABOVE - 1, seconds=3)
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert growth.mebibytes < 100
    assert httpx.get(f"{server.url}{path}").status_code == 200


@pytest.mark.parametrize("size", [ABOVE, WITHIN])
def test_the_messages_of_an_open_method_are_few_and_small(fresh: Fresh, size: int) -> None:
    server, _ = fresh()
    with Growth(server) as growth:
        found = calls(server, CHECK, count=200 if size == WITHIN else 60, size=size)
    assert set(found) <= {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert growth.mebibytes < 120


@pytest.mark.parametrize("size", [ABOVE, WITHIN])
def test_calls_without_a_key_are_refused_before_their_messages_are_taken(fresh: Fresh, size: int) -> None:
    server, _ = fresh()
    with Growth(server) as growth:
        assert set(calls(server, INFER, count=200, size=size)) == {"UNAUTHENTICATED"}
    assert growth.mebibytes < 60


def test_calls_of_one_caller_share_the_budget_of_bytes(fresh: Fresh) -> None:
    server, key = fresh()
    with Growth(server) as growth:
        found = calls(server, INFER, count=400, size=WITHIN, key=key)
    assert set(found) <= {"NOT_FOUND", "RESOURCE_EXHAUSTED"}  # the string is taken for the name of a model
    assert growth.mebibytes < 250


def test_a_call_that_ends_with_an_error_leaves_nothing_of_its_message_behind(fresh: Fresh) -> None:
    server, key = fresh()
    calls(server, INFER, count=20, size=WITHIN, key=key)
    with Growth(server) as growth:
        for _ in range(20):
            calls(server, INFER, count=5, size=WITHIN, key=key)
    assert growth.mebibytes < 60


def test_bodies_of_one_caller_share_the_budget_of_bytes_and_those_beyond_it_are_refused(fresh: Fresh) -> None:
    server, key = fresh("--max_bytes_at_hand", str(16 * MEGABYTE))
    head = f"POST /v2/models/messages/infer HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {key}\r\n"
    head += f"content-length: {MEGABYTE}\r\n\r\n"
    with Growth(server) as growth, connections(server.http_port, 60, head.encode()) as callers:
        refused = [caller.recv(2000) for caller in callers[8:]]
        pour(callers[:8], MEGABYTE - 1)
        assert all(b" 429 " in answer.partition(b"\r\n")[0] and b"retry-after" in answer for answer in refused)
        small = json.dumps({"instances": ["late parcel"]})
        headers = {"authorization": f"Bearer {key}"}
        full = httpx.post(f"{server.url}/v1/models/messages:predict", content=small, headers=headers)
        assert full.status_code == 429
        for caller in callers[:8]:
            caller.sendall(b" ")
            assert caller.recv(2000).startswith(b"HTTP/1.1 400")  # it is there, and not JSON
    assert growth.mebibytes < 100
    after = httpx.post(f"{server.url}/v1/models/messages:predict", content=small, headers=headers)
    assert after.status_code == 200
