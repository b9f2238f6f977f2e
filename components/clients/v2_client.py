"""Clients of a served model over the V2 inference protocol by REST: `Client`, and `AsyncClient` for an event loop.

What they ask and what an answer means is in `slipway.components.clients.v2_questions`; they only send.
"""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from slipway.components.clients.credentials import Tls, api_key, bearer
from slipway.components.clients.v2_protocol import Explanation, Predictions
from slipway.components.clients.v2_questions import Asking, ModelStatus, Questions
from slipway.components.errors import SlipwayError

T = TypeVar("T")


class Client:
    """Asks a served model for labels, explanations and its status.

    It may be shared by threads. It keeps its connections until `close`, or the end of a `with` block.

    Args:
        address: of the server or the gateway before it, as in `http://127.0.0.1:8080`.
        model: name of the model; empty for the only one that the server has.
        key: API key or token; None for that of the environment variable SLIPWAY_API_KEY, empty for none.
        timeout_s: seconds that one request may take.
        headers: sent with every request, such as `Host` for a gateway.
        tls: whom to trust and what to show at an address with https; None trusts whom the system trusts.

    Raises:
        BadInput: the address is none, or the key or a certificate cannot be used.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "",
        key: str | None = None,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._questions = Questions(address, model)
        self._timeout_s = timeout_s
        self._http = httpx.Client(**_options(address, key, timeout_s, headers, tls))

    def predict(self, texts: str | Iterable[str]) -> Predictions:
        """Labels and probabilities, in the order of the texts, by one request.

        Args:
            texts: one text or several; a server takes up to 256 at once unless it was told otherwise.

        Raises:
            BadInput: a text is none, or the server refused the request; its reason is in the message.
            AccessRefused: the key is missing, wrong, or lacks the scope `predict`.
            ModelNotFound: the server has no such model.
            NoAnswer: nothing listens, the connection broke, or it took longer than `timeout_s`.
            Unavailable: the server cannot answer now.
            SlipwayError: an error of the server, or an answer of something else.
        """
        return self._ask(self._questions.predict(texts))

    def explain(self, texts: str | Iterable[str], top: int = 1) -> list[list[Explanation]]:
        """Which words speak for the `top` most probable labels of each text, the most probable first.

        Each text is a request, which takes up to 256 inferences. Raises as `predict`; the scope is `explain`.
        """
        return self._ask(self._questions.explain(texts, top))

    def status(self) -> ModelStatus:
        """Which version is served, and whether it can answer. Raises as `predict`; any scope will do."""
        return self._ask(self._questions.status())

    def version(self) -> str:
        """The version that answers, by one request. Raises as `predict`; any scope will do."""
        return self._ask(self._questions.version())

    def ready(self) -> bool:
        """Whether the model can answer, for which no key is needed; False also when nothing listens."""
        try:
            return self._ask(self._questions.ready())
        except SlipwayError:
            return False

    def _ask(self, asking: Asking[T]) -> T:
        try:
            asked = next(asking)
            while True:
                try:
                    url = self._questions.url(asked)
                    response = self._http.request(asked.method, url, json=asked.content)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._questions.failure(asked, error, self._timeout_s) from error
                asked = asking.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """As `Client`, within an event loop. Many requests may be under way at once.

    Args and errors are those of `Client`. It is closed by `aclose`, or at the end of an `async with` block.
    """

    def __init__(
        self,
        address: str,
        *,
        model: str = "",
        key: str | None = None,
        timeout_s: float = 30.0,
        headers: Mapping[str, str] | None = None,
        tls: Tls | None = None,
    ) -> None:
        self._questions = Questions(address, model)
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(**_options(address, key, timeout_s, headers, tls))

    async def predict(self, texts: str | Iterable[str]) -> Predictions:
        """See `Client.predict`."""
        return await self._ask(self._questions.predict(texts))

    async def explain(self, texts: str | Iterable[str], top: int = 1) -> list[list[Explanation]]:
        """See `Client.explain`."""
        return await self._ask(self._questions.explain(texts, top))

    async def status(self) -> ModelStatus:
        """See `Client.status`."""
        return await self._ask(self._questions.status())

    async def version(self) -> str:
        """See `Client.version`."""
        return await self._ask(self._questions.version())

    async def ready(self) -> bool:
        """See `Client.ready`."""
        try:
            return await self._ask(self._questions.ready())
        except SlipwayError:
            return False

    async def _ask(self, asking: Asking[T]) -> T:
        try:
            asked = next(asking)
            while True:
                try:
                    url = self._questions.url(asked)
                    response = await self._http.request(asked.method, url, json=asked.content)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._questions.failure(asked, error, self._timeout_s) from error
                asked = asking.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _options(
    address: str, key: str | None, timeout_s: float, headers: Mapping[str, str] | None, tls: Tls | None
) -> dict[str, Any]:
    """Arguments of httpx's clients."""
    sent = httpx.Headers(bearer(api_key() if key is None else key))
    sent.update(headers)
    verify = tls.context() if tls else address.startswith("https://")  # reading whom to trust takes a moment
    return {"timeout": timeout_s, "headers": sent, "trust_env": False, "verify": verify}
