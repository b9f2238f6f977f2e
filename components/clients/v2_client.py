"""Clients of a served model over the V2 inference protocol, REST and gRPC, for the command line and for scripts."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from slipway.components.clients.credentials import Tls
from slipway.components.errors import BadInput, SlipwayError


class Prediction(NamedTuple):
    """The answer for one text."""

    label: str
    score: float
    """Probability of `label`."""
    probabilities: dict[str, float]
    """Of every label."""


class ModelClient:
    """Asks over REST. May be shared by threads; keeps its connections until `close`.

    Args:
        base_url: for example `http://127.0.0.1:8080`.
        model_name: name in the protocol's paths.
        timeout_s: seconds that one request may take.
        headers: sent with every request, for example an API key.
        tls: for an address with https; None trusts whom the system trusts.
    """

    def __init__(
        self,
        base_url: str,
        model_name: str,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
    ) -> None:
        self.endpoint = f"{base_url.rstrip('/')}/v2/models/{model_name}"
        if not base_url.startswith(("http://", "https://")):
            raise BadInput(f"{base_url!r} is not an address of a server; expected http://host:port")
        verify = tls.context() if tls else base_url.startswith("https://")  # reading whom to trust takes a moment
        self._http = httpx.Client(timeout=timeout_s, headers=dict(headers or {}), trust_env=False, verify=verify)

    def ready(self) -> bool:
        """Whether the model can answer; False also when nothing listens."""
        try:
            return self._http.get(f"{self.endpoint}/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def metadata(self) -> dict[str, Any]:
        """Name, versions, inputs and outputs of the model. Raises as `predict`."""
        return self._ask("GET", self.endpoint, None)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Predictions in the order of the texts.

        Raises:
            BadInput: a text is no Unicode, or the server refused the request (4xx); its reason is in the message.
            SlipwayError: no answer, or an error of the server.
        """
        _check(texts)
        tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)}
        answer = self._ask("POST", f"{self.endpoint}/infer", {"inputs": [tensor]})
        try:
            tensors = {output["name"]: output for output in answer["outputs"]}
            return _predictions(
                [str(label) for label in tensors["label"]["data"]],
                tensors["probabilities"]["data"],
                tensors["probabilities"]["parameters"]["labels"],
            )
        except (LookupError, TypeError, ValueError) as error:
            raise SlipwayError(f"{self.endpoint} answered, but not as a Slipway model server ({error!r})") from error

    def explain(self, texts: Sequence[str], top: int = 1) -> list[list[dict[str, Any]]]:
        """Explanations of the `top` most probable labels of each text, best first; a request for each text.

        Each is what `slipway.components.explanation.shapley.Explanation.to_json` gives, with `score`, the probability
        of the label. Raises as `predict`.
        """
        _check(texts)
        found = []
        for text in texts:
            tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
            wishes = {"inputs": [tensor], "parameters": {"explain": True, "top_k": top}}
            answer = self._ask("POST", f"{self.endpoint}/infer", wishes)
            try:
                (explanation,) = [tensor for tensor in answer["outputs"] if tensor["name"] == "explanation"]
                found.append([json.loads(told) for told in explanation["data"]])
            except (LookupError, TypeError, ValueError) as error:
                raise SlipwayError(f"{self.endpoint} answered, but not with an explanation ({error!r})") from error
        return found

    def _ask(self, method: str, url: str, content: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, url, json=content)
        except httpx.TimeoutException as error:
            raise SlipwayError(f"{url} did not answer within {self._http.timeout.read:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SlipwayError(f"no model server answers at {url} ({error})") from error
        if answer.status_code != httpx.codes.OK:
            wrong = answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS
            kind = BadInput if wrong else SlipwayError
            raise kind(f"{url} answered {answer.status_code}: {_reason(answer)}")
        try:
            decoded: dict[str, Any] = answer.json()
        except ValueError as error:
            raise SlipwayError(f"{url} answered with something other than JSON; is it a model server?") from error
        return decoded

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class GrpcClient:
    """Asks over gRPC. The import of kserve's messages at construction takes about a second.

    Args:
        target: `host:port`.
        model_name: name of the model.
        timeout_s: seconds that one request may take.
        headers: gRPC metadata sent with every request; keys in lower case.
        tls: None for a connection in clear.
        authority: the host that a gateway knows the model by, where it is not that of `target`.
    """

    def __init__(
        self,
        target: str,
        model_name: str,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
        authority: str = "",
    ) -> None:
        import grpc

        options = [("grpc.default_authority", authority)] if authority else []
        self._errors = grpc.RpcError
        self._messages, services = v2_messages()
        self._channel = (
            grpc.secure_channel(target, tls.channel_credentials(), options)
            if tls
            else grpc.insecure_channel(target, options)
        )
        self._stub = services.GRPCInferenceServiceStub(self._channel)
        self._options = {"timeout": timeout_s, "metadata": tuple((headers or {}).items())}
        self.endpoint = f"grpc://{target}/{model_name}"
        self.model_name = model_name

    def ready(self) -> bool:
        """Whether the model can answer; False also when nothing listens."""
        try:
            answer = self._stub.ModelReady(self._messages.ModelReadyRequest(name=self.model_name), **self._options)
        except self._errors:
            return False
        return bool(answer.ready)

    def metadata(self) -> dict[str, Any]:
        """Name and versions of the model. Raises as `predict`."""
        try:
            found = self._stub.ModelMetadata(self._messages.ModelMetadataRequest(name=self.model_name), **self._options)
        except self._errors as error:
            raise self._refusal(error) from error
        return {"name": found.name, "versions": list(found.versions)}

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Predictions in the order of the texts. Raises as `ModelClient.predict`."""
        contents = {"bytes_contents": _check(texts)}
        tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "contents": contents}
        request = self._messages.ModelInferRequest(model_name=self.model_name, inputs=[tensor])
        try:
            answer = self._stub.ModelInfer(request, **self._options)
        except self._errors as error:
            raise self._refusal(error) from error
        tensors = {output.name: output for output in answer.outputs}
        try:
            return _predictions(
                [label.decode("utf-8") for label in tensors["label"].contents.bytes_contents],
                list(tensors["probabilities"].contents.fp32_contents),
                tensors["probabilities"].parameters["labels"].string_param,
            )
        except (LookupError, ValueError) as error:
            raise SlipwayError(f"{self.endpoint} answered, but not as a Slipway model server ({error!r})") from error

    def _refusal(self, error: Any) -> SlipwayError:
        code = error.code().name
        wrong = code in ("INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED")
        return (BadInput if wrong else SlipwayError)(f"{self.endpoint} answered {code}: {error.details()}")

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def v2_messages() -> tuple[Any, Any]:
    """kserve's modules of the V2 protocol over gRPC: messages and services. The first call takes seconds."""
    with _no_command_line():
        from kserve.protocol.grpc import grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc

    return grpc_predict_v2_pb2, grpc_predict_v2_pb2_grpc


@contextlib.contextmanager
def _no_command_line() -> Iterator[None]:
    """Hide the arguments of this program: kserve takes them for its own when it is imported."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments


def _check(texts: Sequence[str]) -> list[bytes]:
    """The texts in UTF-8; a command line that was given other bytes passes them on as lone surrogates."""
    try:
        return [text.encode("utf-8") for text in texts]
    except UnicodeEncodeError as error:
        raise BadInput(f"the text {error.object!r} is not valid Unicode; give texts in UTF-8") from error


def _predictions(labels: Sequence[str], flat: Sequence[float], names: str) -> list[Prediction]:
    """Put the tensors together; `names` is the JSON list of the classes, `flat` has their probabilities row by row."""
    classes: list[str] = json.loads(names)
    if len(flat) != len(labels) * len(classes):
        raise ValueError(f"{len(flat)} probabilities for {len(labels)} texts and {len(classes)} classes")
    rows = [flat[start : start + len(classes)] for start in range(0, len(flat), len(classes))]
    scores = [dict(zip(classes, map(float, row), strict=True)) for row in rows]
    return [Prediction(label, row[label], row) for label, row in zip(labels, scores, strict=True)]


def _reason(answer: httpx.Response) -> str:
    """The `error` of the specification, or the start of whatever came (a proxy's page, say)."""
    try:
        return str(answer.json()["error"])
    except (ValueError, LookupError, TypeError):
        return answer.text.strip()[:200] or "no reason given"
