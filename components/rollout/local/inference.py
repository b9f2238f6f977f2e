"""Ask the served model as an application would: over the V2 inference protocol, REST or gRPC."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grpc
import httpx
from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs

from components.errors import SlipwayError
from components.rollout.local.client import TIMEOUT_S

BATCH = 32
"""Texts in one request."""


class Prediction(NamedTuple):
    """The answer to one text."""

    label: str
    score: float
    probabilities: dict[str, float]


class InferenceClient:
    """Predictions from a public endpoint.

    Args:
        model_name: of the served model.
        host: where it is served.
        http_port: for REST.
        grpc_port: for gRPC.
        use_grpc: which of both to ask.
    """

    def __init__(self, model_name: str, host: str, http_port: int, grpc_port: int, use_grpc: bool) -> None:
        self.model_name, self.use_grpc = model_name, use_grpc
        self._rest = f"http://{host}:{http_port}/v2/models/{model_name}/infer"
        self._grpc = f"{host}:{grpc_port}"

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """One prediction for each text, in order.

        Raises:
            SlipwayError: the endpoint does not answer, or not with predictions.
        """
        ask = self._ask_grpc if self.use_grpc else self._ask_rest
        found: list[Prediction] = []
        for start in range(0, len(texts), BATCH):
            found.extend(ask(texts[start : start + BATCH]))
        return found

    def _ask_rest(self, texts: Sequence[str]) -> Iterator[Prediction]:
        given = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
        try:
            answer = httpx.post(self._rest, json={"inputs": [given]}, timeout=TIMEOUT_S, trust_env=False)
        except httpx.HTTPError as error:
            raise self._silent(self._rest, type(error).__name__) from error
        if answer.status_code != 200:
            raise SlipwayError(f"{self._rest} answered {answer.status_code}: {answer.text[:300]}")
        outputs = {output["name"]: output for output in answer.json()["outputs"]}
        labels = json.loads(outputs["probabilities"]["parameters"]["labels"])
        return _predictions({name: output["data"] for name, output in outputs.items()}, labels)

    def _ask_grpc(self, texts: Sequence[str]) -> Iterator[Prediction]:
        request = messages.ModelInferRequest(model_name=self.model_name)
        given = request.inputs.add(name="text", datatype="BYTES", shape=[len(texts)])
        given.contents.bytes_contents.extend(text.encode() for text in texts)
        try:
            with grpc.insecure_channel(self._grpc) as channel:
                answer = stubs.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            raise self._silent(self._grpc, f"{error.code().name}: {error.details()}") from error
        outputs = {output.name: output for output in answer.outputs}
        labels = json.loads(outputs["probabilities"].parameters["labels"].string_param)
        values = {
            "label": [value.decode() for value in outputs["label"].contents.bytes_contents],
            "score": outputs["score"].contents.fp32_contents,
            "probabilities": outputs["probabilities"].contents.fp32_contents,
        }
        return _predictions(values, labels)

    def _silent(self, address: str, reason: str) -> SlipwayError:
        return SlipwayError(f"{address} does not answer ({reason}); see `slipway status`, `slipway start` starts it")


def _predictions(values: dict[str, Any], labels: Sequence[str]) -> Iterator[Prediction]:
    width = len(labels)
    for index, (label, score) in enumerate(zip(values["label"], values["score"], strict=True)):
        row = values["probabilities"][index * width : (index + 1) * width]
        yield Prediction(str(label), float(score), dict(zip(labels, map(float, row), strict=True)))
