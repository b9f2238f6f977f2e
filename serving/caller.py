"""Who sent the request at hand: set by the access checks of REST and gRPC, read by the audit log and the metrics."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from components.api_keys import Scope as Scope


class Means(StrEnum):
    """How a caller has shown who it is."""

    NONE = "none"
    KEY = "key"
    TOKEN = "token"
    CERTIFICATE = "certificate"


@dataclass(frozen=True)
class Caller:
    """One identity."""

    name: str
    """The identity that keys belong to, the subject of a token, or the name in a certificate."""
    scopes: frozenset[Scope] = frozenset()
    means: Means = Means.NONE
    key: str = ""
    """Id of the key (never the key itself), or of the token's signing key; empty otherwise."""


ANONYMOUS = Caller("anonymous")
"""Nobody: no credentials were given, or none were needed."""
_current: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)


def current_caller() -> Caller:
    """The caller of the request that this task answers."""
    return _current.get()


def set_caller(caller: Caller) -> None:
    """Name the caller for the rest of this task; each request of REST and each call of gRPC has a task of its own."""
    _current.set(caller)
