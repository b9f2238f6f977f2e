"""The clients against a real server, and what they say when something is wrong."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TypeVar

import httpx
import numpy as np
import pytest

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import AsyncClient, Client
from slipway.components.clients.v2_operations import ModelStatus
from slipway.components.clients.v2_protocol import Predictions
from slipway.components.errors import BadInput, ModelNotFound, NoAnswer, SlipwayError, Unavailable
from tests.serving.conftest import Server, Start

TEXTS = ["parcel courier late", "invoice charged please"]
EITHER = pytest.mark.parametrize("kind", [Client, GrpcClient])
Kind = type[Client] | type[GrpcClient]
Answer = TypeVar("Answer")


def client(kind: Kind, server: Server, model: str = "messages") -> Client | GrpcClient:
    return kind(server.url if kind is Client else server.grpc, model=model, timeout_s=20)


@pytest.fixture
def nowhere() -> Iterator[str]:
    """A port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """The address of a server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@EITHER
def test_predictions_are_what_the_classifier_computes(kind: Kind, server: Server, signed_bundle: Path) -> None:
    with client(kind, server) as asked:
        predictions = asked.predict(TEXTS)
    expected = Classifier(signed_bundle).probabilities(TEXTS)
    assert predictions.labels.tolist() == ["delivery", "billing"]
    assert predictions.classes == ("billing", "delivery", "account")
    assert predictions.probabilities.dtype == np.float32
    assert predictions.probabilities.shape == (2, 3)
    np.testing.assert_allclose(predictions.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(predictions.scores, expected.max(axis=1), atol=1e-5)
    assert predictions.bundle_digest == Bundle(signed_bundle).digest()


@EITHER
def test_predictions_can_be_read_text_by_text(kind: Kind, server: Server) -> None:
    with client(kind, server) as asked:
        first, second = predictions = asked.predict(TEXTS)
        only = asked.predict(TEXTS[0])
    assert (first.label, second.label, len(predictions), len(only)) == ("delivery", "billing", 2, 1)
    assert first.probabilities == only[0].probabilities == predictions[0].probabilities
    assert first.score == first.probabilities["delivery"] == max(first.probabilities.values())


@EITHER
def test_texts_may_come_from_arrays(kind: Kind, server: Server) -> None:
    with client(kind, server) as asked:
        assert asked.predict(np.array(TEXTS)).labels.tolist() == ["delivery", "billing"]
        with pytest.raises(BadInput, match="text 1 is a float; expected a string"):
            asked.predict(["a", float("nan")])  # type: ignore[list-item]


@EITHER
def test_a_refused_request_is_bad_input_with_the_servers_reason(kind: Kind, server: Server) -> None:
    with client(kind, server) as asked, pytest.raises(BadInput, match=r"messages.*no texts"):
        asked.predict([])
    with client(kind, server, "other") as asked, pytest.raises(ModelNotFound, match="other does not exist"):
        asked.predict(TEXTS)
    with client(kind, server) as asked, pytest.raises(BadInput, match="not valid Unicode"):
        asked.predict(["caf\udce9"])


@EITHER
def test_an_error_of_the_model_is_not_bad_input(kind: Kind, moody: Server) -> None:
    with client(kind, moody) as asked, pytest.raises(SlipwayError, match="could not process") as failure:
        asked.predict(["why"])
    assert not isinstance(failure.value, BadInput | NoAnswer | Unavailable)


@EITHER
def test_readiness(kind: Kind, server: Server, nowhere: str) -> None:
    with client(kind, server) as asked:
        assert asked.ready()
    with client(kind, server, "other") as asked:
        assert not asked.ready()
    with kind(f"http://{nowhere}" if kind is Client else nowhere, model="messages") as asked:
        assert not asked.ready()


@EITHER
def test_an_endpoint_that_does_not_answer_is_named(kind: Kind, nowhere: str) -> None:
    address, error = (f"http://{nowhere}", NoAnswer) if kind is Client else (nowhere, Unavailable)
    with kind(address, model="messages") as asked, pytest.raises(error, match=nowhere):
        asked.predict(TEXTS)


@EITHER
def test_an_answer_that_takes_too_long_is_given_up(kind: Kind, moody: Server) -> None:
    address = moody.url if kind is Client else moody.grpc
    with kind(address, model="messages", timeout_s=0.1) as asked, pytest.raises(NoAnswer):
        asked.predict(["again"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<html>", "something other than JSON"),
        (b"[]", "not as a Slipway model server"),
        (b'{"outputs": [{"name": "label", "data": ["a"]}]}', "not as a Slipway model server"),
    ],
)
def test_something_else_that_answers_is_told(content: bytes, words: str) -> None:
    with (
        answering(content) as address,
        Client(address, model="messages") as asked,
        pytest.raises(SlipwayError, match=words),
    ):
        asked.predict(TEXTS)


def test_status(server: Server) -> None:
    with Client(server.url) as asked:
        version = asked.predict(TEXTS).model_version
        assert asked.status() == ModelStatus("messages", version, True, "")


def test_status_of_a_model_that_cannot_answer_has_the_servers_reason(
    start: Start, draft_bundle: Path, tmp_path: Path
) -> None:
    _, key = api_keys.add(tmp_path / "keys.json", "operator", [Scope.PREDICT, Scope.ADMIN])
    server = start(draft_bundle, "--allow_unsigned", "--api_keys", tmp_path / "keys.json").wait_ready()
    with Client(server.url, key=key) as asked:
        unload = f"{server.url}/v2/repository/models/messages/unload"
        assert httpx.post(unload, headers={"x-api-key": key}).status_code == httpx.codes.OK
        found = asked.status()
        assert not found.ready
        assert found.reason
        assert not asked.ready()
        with pytest.raises(Unavailable, match="503"):
            asked.predict(TEXTS)


def test_without_a_name_the_only_model_is_asked(server: Server) -> None:
    with Client(server.url) as asked:
        assert asked.predict(TEXTS).labels.tolist() == ["delivery", "billing"]


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "http://", "http://127.0.0.1:99999999", "grpc://host:1", ""])
def test_something_that_is_no_url_is_bad_input(address: str) -> None:
    with pytest.raises(BadInput, match="expected http://host:port"):
        Client(address, model="messages")


@EITHER
def test_a_key_that_no_header_can_have_is_refused_without_being_shown(kind: Kind) -> None:
    for key in ("hidden\nfrom-all", "hidden from-all", "hiddén"):
        with pytest.raises(BadInput, match="the API key has") as refused:
            kind("http://127.0.0.1:1" if kind is Client else "127.0.0.1:1", model="messages", key=key)
        assert "hidd" not in str(refused.value)


def test_a_login_in_the_address_is_not_shown(nowhere: str) -> None:
    with Client(f"http://me:hidden@{nowhere}", model="m") as asked, pytest.raises(NoAnswer, match=nowhere) as failure:
        asked.predict(TEXTS)
    assert "hidden" not in str(failure.value)


def in_a_loop(ask: Callable[[AsyncClient], Awaitable[Answer]], server: Server, model: str = "") -> Answer:
    """What a question gives or raises."""

    async def whole() -> Answer:
        async with AsyncClient(server.url, timeout_s=20, model=model) as asked:
            return await ask(asked)

    return asyncio.run(whole())


def test_the_asynchronous_client_says_the_same(server: Server) -> None:
    with Client(server.url) as asked:
        expected, status = asked.predict(TEXTS), asked.status()
        (words,) = {told.words for (told,) in asked.explain(TEXTS[:1])}
    found = in_a_loop(lambda client: client.predict(TEXTS), server)
    assert isinstance(found, Predictions)
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-5)
    assert in_a_loop(lambda client: client.status(), server) == status
    assert in_a_loop(lambda client: client.explain(TEXTS[:1]), server)[0][0].words == words


def test_the_asynchronous_client_fails_alike(server: Server, nowhere: str) -> None:
    with pytest.raises(ModelNotFound, match="other does not exist"):
        in_a_loop(lambda client: client.predict(TEXTS), server, model="other")

    async def dead() -> None:
        async with AsyncClient(f"http://{nowhere}") as asked:
            await asked.status()

    with pytest.raises(NoAnswer, match=nowhere):
        asyncio.run(dead())


def test_many_requests_of_one_asynchronous_client_are_under_way_at_once(moody: Server) -> None:
    async def both(asked: AsyncClient) -> list[Predictions]:
        return await asyncio.gather(*(asked.predict(["please"]) for _ in range(8)))

    found = in_a_loop(both, moody)
    assert [len(one) for one in found] == [1] * 8
