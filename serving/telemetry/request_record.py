"""One request and its outcome, as the metrics and the audit log see it; the same for REST and gRPC."""

import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from slipway.serving.access.caller import ANONYMOUS, Scope, current_caller

ABANDONED = 499
"""The client went before it was answered; the code that nginx made usual."""

CLIENT, COMPARISON, STRANGER = "client", "comparison", "stranger"
"""Sources: a rollout that asks both revisions directly marks its questions, which are no client's traffic; a stranger
has shown no credentials that are good, so nothing that becomes of its requests says anything about the model."""


@dataclass
class Exchange:
    """A request at hand. What is inside it is noted by those who decode it."""

    protocol: str
    """`rest` or `grpc`."""
    method: str
    """`infer`, `predict`, `explain`, `load`, `unload`, `metadata` or `other`."""
    marked: bool = False
    """Whether its head says that a rollout compares with it. Anybody can say so: see `source`."""
    bytes_in: int = 0
    bytes_out: int = 0
    """Of bodies, without heads."""
    code: int = 0
    """HTTP status; 0 until there is an outcome."""
    seconds: float = 0.0
    """From the head of the request to the outcome."""
    request_id: str = ""
    texts: Sequence[str] = ()
    started: float = field(default_factory=time.perf_counter)

    @property
    def source(self) -> str:
        """`CLIENT`, `COMPARISON` or `STRANGER`, by the caller of the request that this task answers.

        The mark is believed of those alone who may drive rollouts, or else any client could hide its requests from a
        rollout's evidence.
        """
        caller = current_caller()
        if caller == ANONYMOUS:
            return STRANGER
        return COMPARISON if self.marked and Scope.ROLLOUT in caller.scopes else CLIENT


class Recorder(Protocol):
    """Who is told of exchanges."""

    def began(self, exchange: Exchange) -> None:
        """A request has come."""

    def answered(self, exchange: Exchange) -> None:
        """It has its only outcome, which the client does not know yet; called in the context of the request."""

    def ended(self, exchange: Exchange) -> None:
        """Nothing is left to do for it."""

    def ready(self, ready: bool) -> None:
        """Whether the server can answer, as of now."""


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


def current_exchange() -> Exchange | None:
    """The request that this task answers; None outside of one."""
    return _current.get()


def note(texts: Sequence[str] = (), request_id: str | None = None, method: str | None = None) -> None:
    """Say what the request at hand asks about, once it is decoded; an id in its head goes before one in its body."""
    if exchange := _current.get():
        exchange.texts = texts or exchange.texts
        exchange.request_id = exchange.request_id or request_id or ""
        exchange.method = method or exchange.method


class Observation:
    """Follows one exchange from here to its only outcome."""

    def __init__(self, exchange: Exchange, recorder: Recorder) -> None:
        self.exchange = exchange
        self._recorder = recorder
        self._over = False
        _current.set(exchange)
        recorder.began(exchange)

    def outcome(self, code: int, bytes_out: int = 0) -> None:
        """Report the outcome, if it is the first."""
        if not self.exchange.code:
            self.exchange.code = code
            self.exchange.bytes_out = bytes_out
            self.exchange.seconds = time.perf_counter() - self.exchange.started
            self._recorder.answered(self.exchange)

    def close(self, code: int) -> None:
        """The exchange is over; `code` is its outcome if there was none. Once is enough."""
        self.outcome(code)
        if not self._over:
            self._over = True
            self._recorder.ended(self.exchange)
