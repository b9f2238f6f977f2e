"""Requests and answers of the V2 protocol, as bytes and objects."""

import json
from typing import Any

import numpy as np
import pytest

from slipway.components.clients.v2_protocol import (
    LENGTH,
    UNREADABLE,
    Answer,
    Explanation,
    bytes_elements,
    infer_request,
    path,
)

TOLD = {
    "label": "a",
    "words": ["one", "two"],
    "attributions": [0.5, -0.25],
    "errors": [0.0, None],
    "logit": 1.25,
    "baseline": 1.0,
    "inferences": 4,
    "cut": False,
    "score": 0.75,
}


def raw(*elements: bytes) -> bytes:
    return b"".join(LENGTH.pack(len(element)) + element for element in elements)


def answer(**changes: object) -> dict[str, Any]:
    outputs = [
        {"name": "label", "data": ["b", "a"]},
        {"name": "probabilities", "data": [0.25, 0.75, 0.5, 0.5], "parameters": {"labels": '["a", "b"]'}},
        {"name": "explanation", "data": [json.dumps(TOLD)]},
    ]
    return {"model_version": "7", "parameters": {"bundle_digest": "sha256:1"}, "outputs": outputs} | changes


@pytest.mark.parametrize("elements", [[], [b""], [b"a", b"", "ü".encode()], [b"x" * 70_000]])
def test_the_elements_of_a_tensor_are_read(elements: list[bytes]) -> None:
    assert bytes_elements(raw(*elements), len(elements)) == elements


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (raw(b"a"), 0),
        (raw(b"a"), 2),
        (raw(b"a", b"b"), 1),
        (raw(b"abc")[:-1], 1),
        (raw(b"abc") + b"\0", 1),
        (b"\1\0\0", 1),
        (b"\xff\xff\xff\xff", 1),
        (b"", 10**15),
    ],
)
def test_a_tensor_of_another_size_is_refused(content: bytes, count: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        bytes_elements(content, count)


def test_a_request_has_its_texts_and_parameters() -> None:
    tensor = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    assert infer_request(["a", "b"]) == {"inputs": [tensor]}
    assert infer_request(["a", "b"], top_k=2)["parameters"] == {"top_k": 2}


def test_names_are_escaped_in_paths() -> None:
    assert path("messages", "infer") == "/v2/models/messages/infer"
    assert path("messages") == "/v2/models/messages"
    assert path("../a b") == "/v2/models/..%2Fa%20b"


def test_an_answer_is_read() -> None:
    found = Answer(answer())
    assert (found.labels, found.bundle_digest) == (["b", "a"], "sha256:1")
    predictions = found.predictions
    assert (predictions.classes, predictions.model_version) == (("a", "b"), "7")
    assert predictions.probabilities.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert predictions.scores.tolist() == [0.75, 0.5]
    assert [one.label for one in predictions] == ["b", "a"]
    assert predictions[-1] == ("a", 0.5, {"a": 0.5, "b": 0.5})
    with pytest.raises(IndexError):
        predictions[2]


def test_an_explanation_is_read_and_written_as_it_was() -> None:
    (found,) = Answer(answer()).explanations
    assert found.attributions.sum() == found.logit - found.baseline
    assert np.isnan(found.errors).tolist() == [False, True]
    assert found.to_json() == TOLD
    assert Explanation.from_json(found.to_json()).words == ("one", "two")


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": []},
        {"outputs": {}},
        {"outputs": None},
        {"outputs": [{"name": "label", "data": ["c", "a"]}, answer()["outputs"][1]]},
        {"outputs": [{"name": "label", "data": ["a"]}, answer()["outputs"][1]]},
        {"parameters": {}},
        {"parameters": None},
    ],
)
def test_an_answer_of_another_form_is_told_as_such(changes: dict[str, object]) -> None:
    with pytest.raises(UNREADABLE):
        Answer(answer(**changes)).predictions  # noqa: B018
