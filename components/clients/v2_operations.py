"""The operations of the REST clients: the requests that each needs, and what the responses mean. Nothing is sent here.

Each operation is a generator. It yields requests, receives the response to each, and returns the result. So it is
written once for the blocking client and for the one in an event loop.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import httpx

from slipway.components.clients.credentials import API_KEY, trust_advice, without_credentials
from slipway.components.clients.v2_protocol import (
    UNREADABLE,
    Answer,
    Explanation,
    Predictions,
    checked,
    infer_request,
    path,
)
from slipway.components.errors import AccessRefused, BadInput, ModelNotFound, NoAnswer, SlipwayError, Unavailable

T = TypeVar("T")
RETRY_LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""Statuses of a server that cannot answer now, but may later."""


class Request(NamedTuple):
    """A request to send."""

    method: str
    path: str
    content: Any = None
    """The body, which is sent as JSON; None for no body."""


RequestFlow = Generator[Request, httpx.Response, T]
"""A generator that yields requests, receives the response to each, and returns a result."""


@dataclass(frozen=True)
class ModelStatus:
    """The status of a model at a server."""

    model: str
    """The name of the model."""
    version: str
    """The served version."""
    ready: bool
    """Whether the model can answer."""
    reason: str
    """Why it cannot answer, in the words of the server; empty if it can."""


class V2Operations:
    """The operations on one model at one address.

    Args:
        address: address of the server, for example `http://127.0.0.1:8080`.
        model: name of the model; empty for the only one at the server.

    Raises:
        BadInput: the address is not one of a server.
    """

    def __init__(self, address: str, model: str) -> None:
        if not _is_address(address):
            shown = without_credentials(address)
            raise BadInput(f"{shown!r} is not an address of a server; expected http://host:port")
        self.address, self.model = address.rstrip("/"), model

    def url(self, request: Request) -> str:
        """The URL of a request."""
        return f"{self.address}{request.path}"

    def predict(self, texts: str | Iterable[str]) -> RequestFlow[Predictions]:
        """See `Client.predict`."""
        checked_texts = checked(texts)
        request = Request("POST", path((yield from self._name()), "infer"), infer_request(checked_texts))
        content = yield from self._content(request)
        try:
            result = Answer(content).predictions
            if len(result) != len(checked_texts):
                raise ValueError(f"{len(result)} labels for {len(checked_texts)} texts")
        except UNREADABLE as error:
            raise self._unexpected(request, error) from error
        return result

    def explain(self, texts: str | Iterable[str], top: int) -> RequestFlow[list[list[Explanation]]]:
        """See `Client.explain`. Each text has a request of its own, since it takes hundreds of inferences."""
        checked_texts, explanations = checked(texts), []
        name = yield from self._name()
        for text in checked_texts:
            request = Request("POST", path(name, "infer"), infer_request([text], explain=True, top_k=top))
            content = yield from self._content(request)
            try:
                explanations.append(Answer(content).explanations)
            except UNREADABLE as error:
                raise self._unexpected(request, error) from error
        return explanations

    def status(self) -> RequestFlow[ModelStatus]:
        """See `Client.status`."""
        version = yield from self.version()
        request = Request("GET", path(self.model, "ready"))
        response = yield request
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return ModelStatus(self.model, version, False, _reason(response))
        self._check(request, response)
        return ModelStatus(self.model, version, True, "")

    def version(self) -> RequestFlow[str]:
        """See `Client.version`."""
        request = Request("GET", path((yield from self._name())))
        content = yield from self._content(request)
        try:
            return str(content["versions"][0])
        except UNREADABLE as error:
            raise self._unexpected(request, error) from error

    def ready(self) -> RequestFlow[bool]:
        """See `Client.ready`."""
        response = yield Request("GET", path((yield from self._name()), "ready"))
        return response.status_code == HTTPStatus.OK

    def _name(self) -> RequestFlow[str]:
        """The name of the model. If none was given, the server is asked for its models, and must have only one."""
        if not self.model:
            request = Request("GET", "/v2/models")
            content = yield from self._content(request)
            try:
                names = [str(name) for name in content["models"]]
            except UNREADABLE as error:
                raise self._unexpected(request, error) from error
            if len(names) != 1:
                raise BadInput(
                    f"{self._shown(request)} has the models {', '.join(names) or 'none'}; say which by model=…"
                )
            (self.model,) = names
        return self.model

    def _content(self, request: Request) -> RequestFlow[Any]:
        """The JSON content of a successful response. Raises as `_check`, and SlipwayError if it is not JSON."""
        response = yield request
        self._check(request, response)
        try:
            return response.json()
        except ValueError as error:
            raise SlipwayError(
                f"{self._shown(request)} answered with something other than JSON; is it a model server?"
            ) from error

    def _check(self, request: Request, response: httpx.Response) -> None:
        """Check that a response is successful. Raises the error for its status."""
        status = response.status_code
        if status == HTTPStatus.OK:
            return
        kind: type[SlipwayError] = BadInput if response.is_client_error else SlipwayError
        advice = ""
        if status in RETRY_LATER:
            kind = Unavailable
        elif status == HTTPStatus.UNAUTHORIZED:
            kind, advice = AccessRefused, f"; give a key that is good, or set {API_KEY}"
        elif status == HTTPStatus.FORBIDDEN:
            kind = AccessRefused
        elif status == HTTPStatus.NOT_FOUND:
            kind = ModelNotFound
        raise kind(f"{self._shown(request)} answered {status}: {_reason(response)}{advice}")

    def failure(self, request: Request, error: Exception, timeout_s: float) -> NoAnswer:
        """The error for a request that could not be sent, or that got no response in time."""
        if isinstance(error, httpx.TimeoutException):
            return NoAnswer(f"{self._shown(request)} did not answer within {timeout_s:g} s")
        return NoAnswer(f"no model server answers at {self._shown(request)} ({error}){trust_advice(error)}")

    def _unexpected(self, request: Request, error: Exception) -> SlipwayError:
        """The error for a response with an unexpected format."""
        return SlipwayError(f"{self._shown(request)} answered, but not as a Slipway model server ({error!r})")

    def _shown(self, request: Request) -> str:
        return without_credentials(self.url(request))


def _is_address(text: str) -> bool:
    """Whether a text is the URL of a server."""
    try:
        parts = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return parts.scheme in ("http", "https") and bool(parts.host) and (parts.port or 1) in range(1, 65536)


def _reason(response: httpx.Response) -> str:
    """The member `error` of V2, or the start of another body (for example, the page of a proxy)."""
    try:
        return str(response.json()["error"])
    except (ValueError, LookupError, TypeError):
        return response.text.strip()[:200] or "no reason given"
