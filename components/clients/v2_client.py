"""Clients of a served model over the V2 inference protocol by REST: `Client`, and `AsyncClient` for an event loop.

They only send requests. `slipway.components.clients.v2_operations` makes the requests and reads the responses.
"""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from slipway.components.clients.credentials import Tls, api_key, bearer, trusted
from slipway.components.clients.v2_operations import ModelStatus, RequestFlow, V2Operations
from slipway.components.clients.v2_protocol import Explanation, Predictions
from slipway.components.errors import SlipwayError

T = TypeVar("T")


class Client:
    """Requests labels, explanations and the status of a served model.

    Threads may share a client. It keeps its connections until `close`, or the end of a `with` block.

    Args:
        address: address of the server or of the gateway before it, for example `http://127.0.0.1:8080`.
        model: name of the model; empty for the only one at the server.
        key: API key or token; None for the one in the environment variable SLIPWAY_API_KEY, empty for none.
        timeout_s: time limit of one request, seconds.
        headers: headers of every request, such as `Host` for a gateway.
        tls: certificates for an address with https; None to trust the authorities that the system trusts.

    Raises:
        BadInput: the address is not valid, or the key or a certificate cannot be used.
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
        self._operations = V2Operations(address, model)
        self._timeout_s = timeout_s
        self._http = httpx.Client(**_options(address, key, timeout_s, headers, tls))

    def predict(self, texts: str | Iterable[str]) -> Predictions:
        """Labels and probabilities in the order of the texts, by one request.

        Args:
            texts: one text or several. A server accepts up to 256 in one request, unless it has another limit.

        Raises:
            BadInput: an item is not a text, or the server refused the request; the message has its reason.
            AccessRefused: the key is missing, wrong, or lacks the scope `predict`.
            ModelNotFound: the server has no such model.
            NoAnswer: nothing listens, the connection broke, or the request took longer than `timeout_s`.
            Unavailable: the server cannot answer now.
            SlipwayError: the server failed, or the response is not one of a Slipway model server.
        """
        return self._run(self._operations.predict(texts))

    def explain(self, texts: str | Iterable[str], top: int = 1) -> list[list[Explanation]]:
        """Which words speak for the `top` most probable labels of each text, the most probable first.

        Each text has a request of its own, which takes up to about 256 inferences. Raises as `predict`; the key needs
        the scope `explain`.
        """
        return self._run(self._operations.explain(texts, top))

    def status(self) -> ModelStatus:
        """The served version, and whether it can answer. Raises as `predict`; the key needs any one scope."""
        return self._run(self._operations.status())

    def version(self) -> str:
        """The served version, by one request. Raises as `predict`; the key needs any one scope."""
        return self._run(self._operations.version())

    def ready(self) -> bool:
        """Whether the model can answer; False also if nothing listens. No key is needed if `model` was given."""
        try:
            return self._run(self._operations.ready())
        except SlipwayError:
            return False

    def _run(self, flow: RequestFlow[T]) -> T:
        try:
            request = next(flow)
            while True:
                try:
                    url = self._operations.url(request)
                    response = self._http.request(request.method, url, json=request.content)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._operations.failure(request, error, self._timeout_s) from error
                request = flow.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """`Client` for an event loop. Many requests may be in flight at once.

    Arguments and errors are those of `Client`. It is closed by `aclose`, or at the end of an `async with` block.
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
        self._operations = V2Operations(address, model)
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(**_options(address, key, timeout_s, headers, tls))

    async def predict(self, texts: str | Iterable[str]) -> Predictions:
        """See `Client.predict`."""
        return await self._run(self._operations.predict(texts))

    async def explain(self, texts: str | Iterable[str], top: int = 1) -> list[list[Explanation]]:
        """See `Client.explain`."""
        return await self._run(self._operations.explain(texts, top))

    async def status(self) -> ModelStatus:
        """See `Client.status`."""
        return await self._run(self._operations.status())

    async def version(self) -> str:
        """See `Client.version`."""
        return await self._run(self._operations.version())

    async def ready(self) -> bool:
        """See `Client.ready`."""
        try:
            return await self._run(self._operations.ready())
        except SlipwayError:
            return False

    async def _run(self, flow: RequestFlow[T]) -> T:
        try:
            request = next(flow)
            while True:
                try:
                    url = self._operations.url(request)
                    response = await self._http.request(request.method, url, json=request.content)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._operations.failure(request, error, self._timeout_s) from error
                request = flow.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    async def aclose(self) -> None:
        """Close the connections."""
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
    """The arguments for httpx's clients."""
    all_headers = httpx.Headers(bearer(api_key() if key is None else key))
    all_headers.update(headers)
    verify = tls.context() if tls else trusted(address)
    return {"timeout": timeout_s, "headers": all_headers, "trust_env": False, "verify": verify}
