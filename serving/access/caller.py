"""Who sent the request at hand: set by the access checks of REST and gRPC, read by the audit log and the metrics."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from slipway.components.clients.api_keys import Scope as Scope


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

    @property
    def identity(self) -> tuple[str, str]:
        """What limits are counted by: a name is somebody else's when it was shown in another way."""
        return self.means, self.name


class Account(Protocol):
    """What a request has taken of its caller's quota."""

    def charge(self, texts: int, inferences: int) -> None:
        """Take more, now that it is known what the request asks for. Raises OverQuota."""


ANONYMOUS = Caller("anonymous")
"""Nobody: no credentials were given, or none were needed."""
_current: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)
_account: ContextVar[Account | None] = ContextVar("account", default=None)


def current_caller() -> Caller:
    """The caller of the request that this task answers."""
    return _current.get()


def set_caller(caller: Caller) -> None:
    """Name the caller for the rest of this task; each request of REST and each call of gRPC has a task of its own."""
    _current.set(caller)


def set_account(account: Account) -> None:
    """Say where the rest of this task is charged."""
    _account.set(account)


def charge(texts: int, inferences: int) -> None:
    """Charge the caller of this task with what its request asks for.

    Args:
        texts: that it has in the queue at a time, instead of the one that it was admitted with.
        inferences: that it takes beside those it was charged with before.

    Raises:
        OverQuota: that is more than the caller may have.
    """
    if account := _account.get():
        account.charge(texts, inferences)
