"""What clients get who ask for explanations, in V1 and V2, and what it may cost."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as services

from slipway.components.artifacts.onnx_classifier import Classifier
from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.components.clients.v2_client import Client
from slipway.components.errors import BadInput, SlipwayError
from slipway.components.explanation.shapley import explain
from tests.serving.conftest import Server, Start

TEXTS = ["please, my parcel is late", "invoice charged"]


def ask(server: Server, *texts: str) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/models/messages:explain", json={"instances": list(texts)}, timeout=60)


def tensors(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output for output in response.json()["outputs"]}


def test_v1_explains_the_label_of_each_text(server: Server, signed_bundle: Path) -> None:
    told = ask(server, *TEXTS).json()["explanations"]
    assert [item["label"] for item in told] == ["delivery", "billing"]
    assert told[0]["words"] == ["please", ",", "my", "parcel", "is", "late"]
    classifier = Classifier(signed_bundle)
    for text, item in zip(TEXTS, told, strict=True):
        assert sum(item["attributions"]) == pytest.approx(item["logit"] - item["baseline"], abs=1e-4)
        index = classifier.labels.index(item["label"])
        expected = explain(text, classifier.tokenizer, classifier.run)
        np.testing.assert_allclose(item["attributions"], expected.attributions[:, index], atol=1e-4)
        assert item["logit"] == pytest.approx(classifier.logits([text])[0, index], abs=1e-4)
        assert item["score"] == pytest.approx(classifier.probabilities([text])[0, index], abs=1e-4)


def test_v1_does_not_send_the_headers_of_a_request_back(server: Server) -> None:
    response = httpx.post(
        f"{server.url}/v1/models/messages:explain", json={"instances": TEXTS}, headers={"x-secret": "abc"}
    )
    assert response.headers["content-type"] == "application/json"
    assert not {"x-secret", "host", "user-agent"} & set(response.headers)


def test_v2_explains_when_a_parameter_asks_for_it(server: Server) -> None:
    found = tensors(server.infer(*TEXTS, parameters={"explain": True}))
    assert list(found) == ["label", "score", "probabilities", "explanation"]
    assert found["explanation"]["shape"] == [2, 1]
    for text, expected in zip(found["explanation"]["data"], ask(server, *TEXTS).json()["explanations"], strict=True):
        told = json.loads(text)
        assert (told["label"], told["words"]) == (expected["label"], expected["words"])
        assert told["attributions"] == pytest.approx(expected["attributions"], abs=1e-4)


def test_v2_gives_as_many_labels_as_a_parameter_asks_for(server: Server) -> None:
    found = tensors(server.infer(*TEXTS, parameters={"top_k": 2, "explain": True}))
    labels = np.array(found["top_labels"]["data"]).reshape(found["top_labels"]["shape"])
    scores = np.array(found["top_scores"]["data"]).reshape(found["top_scores"]["shape"])
    assert labels.shape == scores.shape == (2, 2)
    assert labels[:, 0].tolist() == found["label"]["data"]
    assert (scores[:, 0] > scores[:, 1]).all()
    told = np.array([json.loads(text)["label"] for text in found["explanation"]["data"]])
    np.testing.assert_array_equal(told.reshape(found["explanation"]["shape"]), labels)


def test_nothing_is_explained_that_is_not_among_the_requested_outputs(server: Server) -> None:
    found = tensors(server.infer("late parcel", parameters={"explain": True}, outputs=[{"name": "label"}]))
    assert list(found) == ["label"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"parameters": {"top_k": 0}}, "'top_k' must be an integer from 1 to 3"),
        ({"parameters": {"top_k": 4}}, "'top_k' must be an integer from 1 to 3"),
        ({"parameters": {"top_k": True}}, "'top_k' must be an integer from 1 to 3"),
        ({"parameters": {"explain": "yes"}}, "'explain' must be true or false"),
        ({"outputs": [{"name": "explanation"}]}, "needs the parameter 'explain'"),
        ({"outputs": [{"name": "top_scores"}]}, "needs the parameter 'top_k'"),
    ],
)
def test_a_wrong_wish_is_refused_with_its_reason(server: Server, fields: dict[str, Any], reason: str) -> None:
    response = server.infer("late parcel", **fields)
    assert response.status_code == 400
    assert reason in response.json()["error"]


def test_grpc_explains_too(server: Server) -> None:
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "contents": {"bytes_contents": [b"late parcel"]}}
    wishes = {"top_k": {"int64_param": 3}, "explain": {"bool_param": True}}
    with grpc.insecure_channel(server.grpc) as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        request = messages.ModelInferRequest(model_name="messages", inputs=[tensor], parameters=wishes)
        found = {output.name: output for output in stub.ModelInfer(request, timeout=60).outputs}
    told = [json.loads(text) for text in found["explanation"].contents.bytes_contents]
    assert [item["label"] for item in told] == [label.decode() for label in found["top_labels"].contents.bytes_contents]
    assert told[0]["label"] == "delivery"
    assert sum(told[0]["attributions"]) == pytest.approx(told[0]["logit"] - told[0]["baseline"], abs=1e-4)


def test_more_texts_than_the_limit_are_not_explained(server: Server) -> None:
    for response in (ask(server, *["a"] * 5), server.infer(*["a"] * 5, parameters={"explain": True})):
        assert response.status_code == 400
        assert "5 texts to explain; at most 4" in response.json()["error"]


def test_a_long_text_is_explained_in_as_many_inferences_as_the_limit_says(start: Start, draft_bundle: Path) -> None:
    limits = ("--max_explained_words", "5", "--explanation_inferences", "20")
    server = start(draft_bundle, "--allow_unsigned", *limits).wait_ready()
    (told,) = ask(server, "please help the parcel was late again today").json()["explanations"]
    assert told["words"] == ["please", "help the", "parcel", "was late", "again today"]
    assert told["inferences"] <= 20
    assert sum(told["attributions"]) == pytest.approx(told["logit"] - told["baseline"], abs=1e-4)


def test_explanations_beyond_the_limit_are_refused_at_once_and_those_at_hand_answered(
    start: Start, moody_bundle: Path
) -> None:
    server = start(moody_bundle, "--allow_unsigned", "--max_explaining", "1").wait_ready()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(server, "again help"), range(4)))
    codes = [answer.status_code for answer in answers]
    assert 200 in codes
    assert 429 in codes
    assert set(codes) == {200, 429}
    assert all(answer.headers["retry-after"] for answer in answers if answer.status_code == 429)


def test_a_text_on_which_the_model_raises_is_an_error_without_details(moody: Server) -> None:
    response = ask(moody, "why help")
    assert (response.status_code, response.json()) == (500, {"error": "the model could not process the request"})


def test_who_may_only_predict_gets_no_explanations(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    _, predicts = api_keys.add(file, "shop", [Scope.PREDICT])
    _, both = api_keys.add(file, "desk", [Scope.PREDICT, Scope.EXPLAIN])
    server = start(signed_bundle, "--public_key", keys.public_key, "--api_keys", file).wait_ready()
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["late parcel"]}

    def infer(key: str, **parameters: object) -> httpx.Response:
        body = {"inputs": [tensor], "parameters": parameters}
        return httpx.post(f"{server.model_url}/infer", json=body, headers={"x-api-key": key}, timeout=60)

    assert infer(predicts).status_code == 200
    refused = infer(predicts, explain=True)
    assert refused.status_code == 403
    assert "explain" in refused.json()["error"]
    assert infer(both, explain=True).status_code == 200


def test_our_own_client_explains(server: Server, moody: Server) -> None:
    with Client(server.url, model="messages", timeout_s=60) as client:
        (first,), (second,) = client.explain(TEXTS)
        assert (first.label, second.label) == ("delivery", "billing")
        assert [told.label for told in client.explain(TEXTS[0], top=3)[0]][0] == "delivery"
        assert first.attributions.sum() == pytest.approx(first.logit - first.baseline, abs=1e-4)
        assert first.words == ("please", ",", "my", "parcel", "is", "late")
        with pytest.raises(BadInput, match="'top_k' must be an integer from 1 to 3"):
            client.explain(TEXTS, top=4)
    with Client(moody.url, model="messages", timeout_s=60) as client, pytest.raises(SlipwayError, match="500"):
        client.explain(["why help"])
