"""Who may do what: credentials of a request in, a `Caller` or a refusal out. The same for REST and gRPC."""

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
"""Who calls a server that asks for no credentials. Nobody administers it."""
BEARER = re.compile(r"bearer +([\x21-\x7e]+) *", re.IGNORECASE)
API_KEY = "x-api-key"


@dataclass(frozen=True)
class Credentials:
    """What a request has of them."""

    authorization: str | None = None
    """The header of this name."""
    api_key: str | None = None
    """The header `x-api-key`."""
    certificate: str | None = None
    """The name in the client certificate, which TLS has verified."""


class Access:
    """Decides about requests.

    Args:
        quotas: what one identity may ask.
        keys: API keys, if they are accepted.
        tokens: checks tokens, if they are accepted.
        certificate_scopes: what a caller may do that shows nothing but a client certificate.
        insecure: ask for no credentials at all.
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
        """Whether no credentials are asked for."""
        return self._insecure

    async def caller(self, credentials: Credentials, needed: Needed) -> Caller:
        """Who asks, if it may.

        Raises:
            Unauthenticated: there are no credentials, or none that are good.
            Forbidden: the caller lacks the scope.
            NotCheckable: a token cannot be checked now.
        """
        if not needed:
            return ANONYMOUS
        caller = await self._identity(credentials)
        set_caller(caller)  # the audit log names those who are refused, too
        if not caller.scopes & needed:
            wanted = sorted(needed)
            raise Forbidden(f"'{caller.name[:100]}' lacks the scope for this: {' or '.join(wanted)}", " ".join(wanted))
        return caller

    @contextmanager
    def admitted(self, caller: Caller) -> Iterator[None]:
        """Answer a request for the caller, within its quota. Raises OverQuota."""
        set_caller(caller)
        if caller is ANONYMOUS:
            yield
            return
        with self._quotas.held(caller) as held:
            set_account(held)
            yield

    async def _identity(self, credentials: Credentials) -> Caller:
        if self._insecure:
            return EVERYBODY
        secret = _secret(credentials)
        if secret is None:
            if credentials.certificate:
                return Caller(credentials.certificate, self._certificate_scopes, Means.CERTIFICATE)
            raise Unauthenticated("this needs an API key or a token: 'Authorization: Bearer …'", given=False)
        is_token = credentials.api_key is None and secret.count(".") == 2
        if is_token and self._tokens:
            return await self._tokens.caller(secret)
        if self._keys and not is_token:
            return self._keys.caller(secret)
        raise Unauthenticated(f"this server takes no {'tokens' if is_token else 'API keys'}", given=True)


def _secret(credentials: Credentials) -> str | None:
    """The key or token."""
    if credentials.api_key is not None:
        return credentials.api_key
    if credentials.authorization is None:
        return None
    found = BEARER.fullmatch(credentials.authorization)
    if found is None:
        raise Unauthenticated("the header Authorization must be 'Bearer' and an API key or a token", given=True)
    return found[1]
