"""The caller of the current request. The access checks set it; the audit log, the metrics and the limits read it.

It is a context variable, since the code that reads it is far from the access checks, partly behind kserve's calls.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from slipway.components.clients.api_keys import Scope as Scope


class Means(StrEnum):
    """The kind of credentials by which a caller was identified."""

    NONE = "none"
    KEY = "key"
    TOKEN = "token"
    CERTIFICATE = "certificate"


@dataclass(frozen=True)
class Caller:
    """One identity."""

    name: str
    """The identity in the key file, the subject of the token, or the name in the certificate."""
    scopes: frozenset[Scope] = frozenset()
    means: Means = Means.NONE
    key: str = ""
    """Id of the API key (never the key itself), or of the token's signing key; empty otherwise."""

    @property
    def identity(self) -> tuple[str, str]:
        """What limits are counted by. The same name in a key file and in a token may be two different callers."""
        return self.means, self.name


class Account(Protocol):
    """What one request has taken from its caller's quota."""

    def charge(self, texts: int, inferences: int) -> None:
        """Take more, once the request is decoded; arguments as for the function `charge`. Raises OverQuota."""


ANONYMOUS = Caller("anonymous")
"""The caller of a request without valid credentials, or of one that needs none."""
_current: ContextVar[Caller] = ContextVar("caller", default=ANONYMOUS)
_account: ContextVar[Account | None] = ContextVar("account", default=None)


def current_caller() -> Caller:
    """The caller of the request that this task answers."""
    return _current.get()


def set_caller(caller: Caller) -> None:
    """Set the caller for the rest of this task. Each request over REST and each call over gRPC has its own task."""
    _current.set(caller)


def set_account(account: Account) -> None:
    """Set the account that the rest of this task is charged to."""
    _account.set(account)


def charge(texts: int, inferences: int) -> None:
    """Charge the caller of this task for its request.

    Args:
        texts: number of texts that the request has in the queue at a time; replaces the 1 that it was admitted with.
        inferences: number of inferences beyond those that were charged before.

    Raises:
        OverQuota: the caller would have more texts at hand than it may.
    """
    if account := _account.get():
        account.charge(texts, inferences)
