"""Access checks for REST and gRPC: they map the credentials of a request to a `Caller`, or refuse the request."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from slipway.serving.access.caller import ANONYMOUS, Caller, Means, Scope, set_account, set_caller
from slipway.serving.access.keys import ApiKeys
from slipway.serving.access.quotas import Quotas
from slipway.serving.access.rules import Needed
from slipway.serving.access.tokens import Tokens
from slipway.serving.errors import Forbidden, Unauthenticated

logger = logging.getLogger("serving")
EVERYBODY = Caller(ANONYMOUS.name, frozenset({Scope.PREDICT, Scope.EXPLAIN}))
"""The caller of every request to a server with `--insecure_no_auth`. It lacks the scope admin on purpose."""
BEARER = re.compile(r"bearer +([\x21-\x7e]+) *", re.IGNORECASE)
API_KEY = "x-api-key"


@dataclass(frozen=True)
class Credentials:
    """The credentials in one request; None for those that it lacks."""

    authorization: str | None = None
    """The header `authorization`."""
    api_key: str | None = None
    """The header `x-api-key`."""
    certificate: str | None = None
    """The name in the client certificate, which TLS has verified already."""


class Access:
    """Decides which requests are accepted.

    Args:
        quotas: limits of each identity.
        keys: checks API keys; None if the server accepts none.
        tokens: checks tokens; None if the server accepts none.
        certificate_scopes: scopes of a caller that has a client certificate, but no key and no token.
        insecure: whether every request is accepted without credentials.
    """

    def __init__(
        self,
        quotas: Quotas,
        keys: ApiKeys | None = None,
        tokens: Tokens | None = None,
        certificate_scopes: frozenset[Scope] = frozenset(),
        insecure: bool = False,
    ) -> None:
        self._quotas, self._keys, self._tokens = quotas, keys, tokens
        self._certificate_scopes = certificate_scopes
        self._insecure = insecure
        if insecure:
            logger.warning("event=insecure_no_auth everybody who reaches the ports is answered")

    @property
    def insecure(self) -> bool:
        """Whether every request is accepted without credentials."""
        return self._insecure

    async def caller(self, credentials: Credentials, needed: Needed) -> Caller:
        """Identify the caller of a request, and check that it may make the request.

        Args:
            credentials: those in the request.
            needed: scopes of which the caller needs one; empty if the request is open to everybody.

        Raises:
            Unauthenticated: the request has no credentials, or no valid ones.
            Forbidden: the caller has none of the scopes.
            NotCheckable: a token cannot be checked now.
        """
        if not needed:
            return ANONYMOUS
        caller = await self._identity(credentials)
        set_caller(caller)  # before the check, so that the audit log names the callers of refused requests too
        if not caller.scopes & needed:
            wanted = sorted(needed)
            raise Forbidden(f"'{caller.name[:100]}' lacks the scope for this: {' or '.join(wanted)}", " ".join(wanted))
        return caller

    @contextmanager
    def admitted(self, caller: Caller) -> Iterator[None]:
        """Count a request in the caller's quota for as long as the context lasts. Raises OverQuota."""
        set_caller(caller)
        if caller is ANONYMOUS:
            yield
            return
        with self._quotas.held(caller) as account:
            set_account(account)
            yield

    async def _identity(self, credentials: Credentials) -> Caller:
        if self._insecure:
            return EVERYBODY
        secret = _secret(credentials)
        if secret is None:
            if credentials.certificate:
                return Caller(credentials.certificate, self._certificate_scopes, Means.CERTIFICATE)
            raise Unauthenticated("this needs an API key or a token: 'Authorization: Bearer …'", given=False)
        is_token = credentials.api_key is None and secret.count(".") == 2  # a signed JWT has three parts (RFC 7515)
        if is_token and self._tokens:
            return await self._tokens.caller(secret)
        if self._keys and not is_token:
            return self._keys.caller(secret)
        raise Unauthenticated(f"this server takes no {'tokens' if is_token else 'API keys'}", given=True)


def _secret(credentials: Credentials) -> str | None:
    """The API key or token; None if there is neither. Raises Unauthenticated for another kind of authorization."""
    if credentials.api_key is not None:
        return credentials.api_key
    if credentials.authorization is None:
        return None
    match = BEARER.fullmatch(credentials.authorization)
    if match is None:
        raise Unauthenticated("the header Authorization must be 'Bearer' and an API key or a token", given=True)
    return match[1]
