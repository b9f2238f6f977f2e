"""The two small clients against a real server, and what they say when something is wrong."""

import socket

import numpy as np
import pytest

from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.clients.v2_client import GrpcClient, ModelClient
from slipway.components.errors import BadInput, SlipwayError

TEXTS = ["parcel courier late", "invoice charged please"]


def client(kind, server, model="messages"):
    address = server.url if kind is ModelClient else server.grpc
    return kind(address, model, timeout_s=20)


@pytest.fixture
def nowhere():
    """A port that nothing listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize("kind", [ModelClient, GrpcClient])
def test_predictions_are_what_the_classifier_computes(kind, server, signed_bundle):
    with client(kind, server) as asked:
        predictions = asked.predict(TEXTS)
    expected = Classifier(signed_bundle).probabilities(TEXTS)
    assert [prediction.label for prediction in predictions] == ["delivery", "billing"]
    assert list(predictions[0].probabilities) == ["billing", "delivery", "account"]
    np.testing.assert_allclose([list(item.probabilities.values()) for item in predictions], expected, atol=1e-5)
    np.testing.assert_allclose([item.score for item in predictions], expected.max(axis=1), atol=1e-5)


@pytest.mark.parametrize("kind", [ModelClient, GrpcClient])
def test_a_refused_request_is_bad_input_with_the_servers_reason(kind, server):
    with client(kind, server) as asked, pytest.raises(BadInput, match=r"messages.*no texts"):
        asked.predict([])
    with client(kind, server, "other") as asked, pytest.raises(BadInput, match="other does not exist"):
        asked.predict(TEXTS)
    with client(kind, server) as asked, pytest.raises(BadInput, match="not valid Unicode"):
        asked.predict(["caf\udce9"])


@pytest.mark.parametrize("kind", [ModelClient, GrpcClient])
def test_an_error_of_the_model_is_not_bad_input(kind, moody):
    with client(kind, moody) as asked, pytest.raises(SlipwayError, match="could not process") as failure:
        asked.predict(["why"])
    assert not isinstance(failure.value, BadInput)


@pytest.mark.parametrize("kind", [ModelClient, GrpcClient])
def test_readiness(kind, server, nowhere):
    with client(kind, server) as asked:
        assert asked.ready()
    with client(kind, server, "other") as asked:
        assert not asked.ready()
    with kind(f"http://{nowhere}" if kind is ModelClient else nowhere, "messages") as asked:
        assert not asked.ready()


def test_an_endpoint_that_does_not_answer_is_named(nowhere):
    with ModelClient(f"http://{nowhere}", "messages") as asked, pytest.raises(SlipwayError, match=nowhere):
        asked.predict(TEXTS)
    with GrpcClient(nowhere, "messages") as asked, pytest.raises(SlipwayError, match=nowhere):
        asked.predict(TEXTS)


def test_metadata(server):
    with client(ModelClient, server) as asked:
        assert asked.metadata()["inputs"][0]["name"] == "text"


def test_something_that_is_no_url_is_bad_input():
    with pytest.raises(BadInput, match="http://host:port"):
        ModelClient("127.0.0.1:8080", "messages")
