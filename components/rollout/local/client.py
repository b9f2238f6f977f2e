"""A rollout's own requests to the servers of this machine, each timed."""

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
"""Longer than the proxy waits, so that the proxy's answer arrives."""
THREADS = 4


@dataclass(frozen=True)
class Answer:
    """What came back for one text."""

    reply: Reply | None
    """None when the prediction failed."""
    status: int
    """The HTTP status; 0 when the connection broke or the answer came too late."""
    version: str | None
    """The revision that was asked, as the proxy says."""
    ms: float | None = None
    """How long the prediction took; None when it failed."""


class RestClient:
    """Asks for one text a request, a few at the same time; threads and connections are kept until `close`."""

    def __init__(self, model_name: str, headers: Mapping[str, str] | None = None) -> None:
        self._path = path(model_name, "infer")
        limits = httpx.Limits(max_connections=4 * THREADS, keepalive_expiry=2.0)
        marked = {**COMPARISON, **(headers or {})}
        self._http = httpx.Client(timeout=TIMEOUT_S, limits=limits, headers=marked, trust_env=False)
        self._pool = ThreadPoolExecutor(THREADS)

    def ask(self, port: int, text: str) -> Answer:
        """One prediction of whatever listens on a port of this machine."""
        began = time.perf_counter()
        try:
            answer = self._http.post(f"http://127.0.0.1:{port}{self._path}", json=infer_request([text]))
        except httpx.HTTPError:
            return Answer(None, 0, None)
        reply, took = reply_of(answer.status_code, answer.content), 1000 * (time.perf_counter() - began)
        ms = None if reply is None else took
        return Answer(reply, answer.status_code, answer.headers.get(VERSION_HEADER), ms)

    def ask_all(self, ports_and_texts: Iterable[tuple[int, str]]) -> list[Answer]:
        """Predictions in the order of the questions."""
        questions: Sequence[tuple[int, str]] = list(ports_and_texts)
        return list(self._pool.map(lambda question: self.ask(*question), questions))

    def close(self) -> None:
        """Let go of threads and connections."""
        self._pool.shutdown()
        self._http.close()

    def __enter__(self) -> "RestClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
