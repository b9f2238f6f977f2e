"""What clients ask a model server over REST, and what its answers mean, without sending anything.

Each question is a generator: it yields requests, gets the response of each, and returns the result. So it is written
once for the client that waits and for the one within an event loop.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar

import httpx

from slipway.components.clients.credentials import API_KEY, without_credentials
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
NOT_NOW = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Request(NamedTuple):
    """What is to be sent."""

    method: str
    path: str
    content: Any = None
    """Sent as JSON."""


Asking = Generator[Request, httpx.Response, T]
"""Yields requests, gets the response of each, and returns a result."""


@dataclass(frozen=True)
class ModelStatus:
    """What a model server says of a model."""

    model: str
    """Its name."""
    version: str
    """That is served there."""
    ready: bool
    """Whether it can answer."""
    reason: str
    """Why it cannot, in the words of the server; empty when it can."""


class Questions:
    """What both clients ask of one model at one address.

    Args:
        address: of the server, as in `http://127.0.0.1:8080`.
        model: name of the model; empty for the only one that the server has.
    """

    def __init__(self, address: str, model: str) -> None:
        if not _is_address(address):
            shown = without_credentials(address)
            raise BadInput(f"{shown!r} is not an address of a server; expected http://host:port")
        self.address, self.model = address.rstrip("/"), model

    def url(self, asked: Request) -> str:
        """Where a request goes."""
        return f"{self.address}{asked.path}"

    def predict(self, texts: str | Iterable[str]) -> Asking[Predictions]:
        """See `Client.predict`."""
        given = checked(texts)
        asked = Request("POST", path((yield from self._name()), "infer"), infer_request(given))
        content = yield from self._answer(asked)
        try:
            found = Answer(content).predictions
            if len(found) != len(given):
                raise ValueError(f"{len(found)} labels for {len(given)} texts")
        except UNREADABLE as error:
            raise self._foreign(asked, error) from error
        return found

    def explain(self, texts: str | Iterable[str], top: int) -> Asking[list[list[Explanation]]]:
        """See `Client.explain`. Each text has a request of its own, since it takes hundreds of inferences."""
        given, found = checked(texts), []
        name = yield from self._name()
        for text in given:
            asked = Request("POST", path(name, "infer"), infer_request([text], explain=True, top_k=top))
            content = yield from self._answer(asked)
            try:
                found.append(Answer(content).explanations)
            except UNREADABLE as error:
                raise self._foreign(asked, error) from error
        return found

    def status(self) -> Asking[ModelStatus]:
        """See `Client.status`."""
        version = yield from self.version()
        asked = Request("GET", path(self.model, "ready"))
        response = yield asked
        if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            return ModelStatus(self.model, version, False, _reason(response))
        self._check(asked, response)
        return ModelStatus(self.model, version, True, "")

    def version(self) -> Asking[str]:
        """See `Client.version`."""
        asked = Request("GET", path((yield from self._name())))
        content = yield from self._answer(asked)
        try:
            return str(content["versions"][0])
        except UNREADABLE as error:
            raise self._foreign(asked, error) from error

    def ready(self) -> Asking[bool]:
        """See `Client.ready`."""
        response = yield Request("GET", path((yield from self._name()), "ready"))
        return response.status_code == HTTPStatus.OK

    def _name(self) -> Asking[str]:
        """Of the model; when none was given, the server is asked for its only one."""
        if not self.model:
            asked = Request("GET", "/v2/models")
            content = yield from self._answer(asked)
            try:
                names = [str(name) for name in content["models"]]
            except UNREADABLE as error:
                raise self._foreign(asked, error) from error
            if len(names) != 1:
                raise BadInput(
                    f"{self._shown(asked)} has the models {', '.join(names) or 'none'}; say which by model=…"
                )
            (self.model,) = names
        return self.model

    def _answer(self, asked: Request) -> Asking[Any]:
        """The JSON of a good answer."""
        response = yield asked
        self._check(asked, response)
        try:
            return response.json()
        except ValueError as error:
            raise SlipwayError(
                f"{self._shown(asked)} answered with something other than JSON; is it a model server?"
            ) from error

    def _check(self, asked: Request, response: httpx.Response) -> None:
        """Return when the answer is good. Raises the error that its status means."""
        status = response.status_code
        if status == HTTPStatus.OK:
            return
        kind: type[SlipwayError] = BadInput if response.is_client_error else SlipwayError
        advice = ""
        if status in NOT_NOW:
            kind = Unavailable
        elif status == HTTPStatus.UNAUTHORIZED:
            kind, advice = AccessRefused, f"; give a key that is good, or set {API_KEY}"
        elif status == HTTPStatus.FORBIDDEN:
            kind = AccessRefused
        elif status == HTTPStatus.NOT_FOUND:
            kind = ModelNotFound
        raise kind(f"{self._shown(asked)} answered {status}: {_reason(response)}{advice}")

    def failure(self, asked: Request, error: Exception, timeout_s: float) -> NoAnswer:
        """What it means that a request could not be sent, or that nothing came back."""
        if isinstance(error, httpx.TimeoutException):
            return NoAnswer(f"{self._shown(asked)} did not answer within {timeout_s:g} s")
        return NoAnswer(f"no model server answers at {self._shown(asked)} ({error})")

    def _foreign(self, asked: Request, error: Exception) -> SlipwayError:
        return SlipwayError(f"{self._shown(asked)} answered, but not as a Slipway model server ({error!r})")

    def _shown(self, asked: Request) -> str:
        return without_credentials(self.url(asked))


def _is_address(text: str) -> bool:
    """Whether it is a URL of a server."""
    try:
        parts = httpx.URL(text)
    except httpx.InvalidURL:
        return False
    return parts.scheme in ("http", "https") and bool(parts.host) and (parts.port or 1) in range(1, 65536)


def _reason(response: httpx.Response) -> str:
    """The `error` of the specification, or the start of whatever came (a proxy's page, say)."""
    try:
        return str(response.json()["error"])
    except (ValueError, LookupError, TypeError):
        return response.text.strip()[:200] or "no reason given"
