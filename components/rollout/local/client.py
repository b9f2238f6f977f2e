"""Sends a rollout's own prediction requests to ports of this machine, and measures their latencies."""

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import httpx

from slipway.components.clients.v2_protocol import infer_request, path
from slipway.components.rollout.local.envoy_config import VERSION_HEADER
from slipway.components.rollout.probe_request import COMPARISON, Reply, reply_of

TIMEOUT_S = 20.0
"""Longer than the proxy waits for a server, so that the proxy's own response arrives."""
THREADS = 4


@dataclass(frozen=True)
class Answer:
    """The response to the request for one text."""

    reply: Reply | None
    """The prediction; None when it failed."""
    status: int
    """The HTTP status; 0 when the connection broke or the request timed out."""
    version: str | None
    """The revision that answered, from the proxy's header; None without that header."""
    ms: float | None = None
    """Latency in ms; None when the prediction failed."""


class RestClient:
    """A client that sends one text a request, and several requests at a time.

    It keeps threads and connections until `close`.

    Args:
        model_name: name of the model in the path of requests.
        headers: of every request, beside the mark of a rollout's own requests.
    """

    def __init__(self, model_name: str, headers: Mapping[str, str] | None = None) -> None:
        self._path = path(model_name, "infer")
        limits = httpx.Limits(max_connections=4 * THREADS, keepalive_expiry=2.0)
        marked = {**COMPARISON, **(headers or {})}
        self._http = httpx.Client(timeout=TIMEOUT_S, limits=limits, headers=marked, trust_env=False)
        self._pool = ThreadPoolExecutor(THREADS)

    def ask(self, port: int, text: str) -> Answer:
        """Send one text to the server or proxy at a port of this machine."""
        began = time.perf_counter()
        try:
            response = self._http.post(f"http://127.0.0.1:{port}{self._path}", json=infer_request([text]))
        except httpx.HTTPError:
            return Answer(None, 0, None)
        reply = reply_of(response.status_code, response.content)
        elapsed_ms = 1000 * (time.perf_counter() - began)
        ms = None if reply is None else elapsed_ms
        return Answer(reply, response.status_code, response.headers.get(VERSION_HEADER), ms)

    def ask_all(self, ports_and_texts: Iterable[tuple[int, str]]) -> list[Answer]:
        """Send each text to its port; return the answers in the same order."""
        requests: Sequence[tuple[int, str]] = list(ports_and_texts)
        return list(self._pool.map(lambda request: self.ask(*request), requests))

    def close(self) -> None:
        """Close threads and connections."""
        self._pool.shutdown()
        self._http.close()

    def __enter__(self) -> "RestClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
