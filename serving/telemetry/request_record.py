"""The record of one request and its outcome, for the metrics and the audit log; the same for REST and gRPC."""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from slipway.serving.access.caller import ANONYMOUS, Scope, current_caller

ABANDONED = 499
"""Status of a request whose client disconnected before the response. nginx introduced this code."""

CLIENT, COMPARISON, STRANGER = "client", "comparison", "stranger"
"""Sources of requests. A rollout that compares both revisions marks its own requests as `comparison`, since they are
not traffic of clients. A `stranger` has shown no valid credentials, so its refused requests say nothing about the
model."""


@dataclass
class Exchange:
    """A request that is being answered. `note` adds its content once it is decoded."""

    protocol: str
    """`rest` or `grpc`."""
    method: str
    """`infer`, `predict`, `explain`, `load`, `unload`, `metadata` or `other`."""
    marked: bool = False
    """Whether its head marks it as `comparison`. Any client can send the mark: see `source`."""
    bytes_in: int = 0
    """Bytes of the body of the request, without the head."""
    bytes_out: int = 0
    """Bytes of the body of the response, without the head."""
    code: int = 0
    """HTTP status of the outcome; 0 until there is one."""
    seconds: float = 0.0
    """Time from the head of the request to the outcome."""
    request_id: str = ""
    texts: Sequence[str] = ()
    started: float = field(default_factory=time.perf_counter)

    @property
    def source(self) -> str:
        """`CLIENT`, `COMPARISON` or `STRANGER`, by the caller of this task's request.

        The mark counts only from callers with the scope `rollout`. Otherwise any client could hide its requests from
        the evidence of a rollout.
        """
        caller = current_caller()
        if caller == ANONYMOUS:
            return STRANGER
        return COMPARISON if self.marked and Scope.ROLLOUT in caller.scopes else CLIENT


class Recorder(Protocol):
    """Is called at each stage of a request."""

    def began(self, exchange: Exchange) -> None:
        """Called when a request begins."""

    def answered(self, exchange: Exchange) -> None:
        """Called once per request, with its outcome, before the client gets it; runs in the request's context."""

    def ended(self, exchange: Exchange) -> None:
        """Called when a request is over."""

    def ready(self, ready: bool) -> None:
        """Called before a scrape, with whether the server can answer now."""


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def current_exchange() -> Exchange | None:
    """The record of the request that this task answers; None outside of a request."""
    return _current.get()


def note(texts: Sequence[str] = (), request_id: str | None = None, method: str | None = None) -> None:
    """Add the content of the current request to its record, once it is decoded.

    Args:
        texts: the texts of the request.
        request_id: the id in the body. An id in the head takes precedence.
        method: the method, if the body changes it.
    """
    if exchange := _current.get():
        exchange.texts = texts or exchange.texts
        exchange.request_id = exchange.request_id or request_id or ""
        exchange.method = method or exchange.method


class Observation:
    """Reports one request to a recorder: its begin, its only outcome and its end."""

    def __init__(self, exchange: Exchange, recorder: Recorder) -> None:
        self.exchange = exchange
        self._recorder = recorder
        self._over = False
        _current.set(exchange)
        recorder.began(exchange)

    def outcome(self, code: int, bytes_out: int = 0) -> None:
        """Report an outcome; all but the first are ignored."""
        if not self.exchange.code:
            self.exchange.code = code
            self.exchange.bytes_out = bytes_out
            self.exchange.seconds = time.perf_counter() - self.exchange.started
            self._recorder.answered(self.exchange)

    def close(self, code: int) -> None:
        """Report the end of the request, once; `code` is the outcome if none was reported before."""
        self.outcome(code)
        if not self._over:
            self._over = True
            self._recorder.ended(self.exchange)
