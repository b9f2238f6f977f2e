"""Checks JSON Web Tokens that callers use as access tokens (RFC 9068, RFC 8725): signature, audience, times, scopes."""

from collections.abc import Sequence
from typing import Any

import jwt

from slipway.components.errors import BadInput
from slipway.serving.access.caller import Caller, Means, Scope
from slipway.serving.access.jwks import KeySource
from slipway.serving.errors import Unauthenticated

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms that may be allowed: all sign with a private key. `none` has no signature, and with HS* the key that
checks a token could also sign one."""
UNTYPED = "none"
"""The type of a token whose header has no `typ`."""
TYPES = ("at+jwt", "JWT", UNTYPED)
"""Types of access tokens. RFC 9068 demands the first; many issuers write the second (RFC 7519, 5.1) or nothing. A token
of another type is for something else, such as a logout or a proof of possession (RFC 8725, 3.11)."""
REQUIRED = ["exp", "iss", "aud", "sub"]
LENGTH_LIMIT = 16_384
"""Most characters of a token."""


class Tokens:
    """Checks the tokens of one issuer.

    Args:
        issuer: what the claim `iss` must be.
        audience: what the claim `aud` must be or contain, so that a token for another service is refused.
        keys: the issuer's public keys.
        algorithms: allowed algorithms, out of `ALGORITHMS`.
        leeway_s: seconds that the clocks of issuer and server may differ.
        types: allowed values of `typ` in the header, out of `TYPES`.

    Raises:
        BadInput: an algorithm is not in `ALGORITHMS`, or a type is not in `TYPES`.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        keys: KeySource,
        algorithms: Sequence[str],
        leeway_s: float = 30.0,
        types: Sequence[str] = TYPES,
    ) -> None:
        if unknown := [name for name in algorithms if name not in ALGORITHMS]:
            raise BadInput(f"{', '.join(unknown)} cannot be allowed for tokens; choose from {', '.join(ALGORITHMS)}")
        if not types or not set(types) <= set(TYPES):
            raise BadInput(
                f"{', '.join(types) or 'nothing'} cannot be the type of tokens; choose from {', '.join(TYPES)}"
            )
        self._types = {name.lower() for name in types}
        self._issuer, self._audience, self._keys = issuer, audience, keys
        self._algorithms, self._leeway_s = list(algorithms), leeway_s

    async def caller(self, token: str) -> Caller:
        """The caller that a token identifies.

        Raises:
            Unauthenticated: the token is not valid; the message contains no part of the token.
            NotCheckable: the issuer's keys are not available now.
        """
        try:
            if len(token) > LENGTH_LIMIT:
                raise jwt.DecodeError
            header = jwt.get_unverified_header(token)
            self._check_type(header)
            key = await self._key(header)
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_s,
                options={"require": REQUIRED},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise Unauthenticated(_reason(error), given=True) from None
        return Caller(claims["sub"], _scopes(claims), Means.TOKEN, str(header.get("kid", "")))

    def _check_type(self, header: dict[str, Any]) -> None:
        """Raise _WrongType if the type is not accepted. A type may begin with `application/` (RFC 7515, 4.1.9)."""
        accepted = self._types - {UNTYPED} if "typ" in header else self._types
        if str(header.get("typ", UNTYPED)).lower().removeprefix("application/") not in accepted:
            raise _WrongType

    async def _key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """The key that the header of the token names, for the algorithm that it names."""
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise jwt.InvalidAlgorithmError
        key = await self._keys.find(header.get("kid"))
        if key is None:
            raise jwt.InvalidKeyError
        if key.get("alg", algorithm) != algorithm:  # the issuer made this key for another algorithm (RFC 7517, 4.4)
            raise jwt.InvalidAlgorithmError
        return jwt.PyJWK(key, algorithm)


class _WrongType(jwt.PyJWTError):
    """The token is not an access token."""


_REASONS: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
    (_WrongType, "the token is of a type that is not accepted here"),
    (jwt.ExpiredSignatureError, "the token has expired"),
    (jwt.ImmatureSignatureError, "the token is not valid yet"),
    (jwt.InvalidIssuedAtError, "the token is not valid yet"),
    (jwt.InvalidAudienceError, "the token is for another audience"),
    (jwt.InvalidIssuerError, "the token is of another issuer"),
    (jwt.MissingRequiredClaimError, "the token lacks a claim; exp, iss, aud and sub are needed"),
    (jwt.InvalidAlgorithmError, "the token is signed with an algorithm that is not allowed"),
    (jwt.InvalidKeyError, "the token is signed with a key that the issuer does not have"),
    (jwt.InvalidSignatureError, "the signature of the token is wrong"),
)


def _reason(error: Exception) -> str:
    """The message for the client. The library's own message may contain parts of the token."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "the token cannot be read")


def _scopes(claims: dict[str, Any]) -> frozenset[Scope]:
    """The scopes in the claim `scope` (RFC 8693: a string of words) or `scp` (a string of words, or a list).

    A scope may have the prefix `slipway:`. Scopes of other names are ignored.
    """
    claim = claims.get("scope", claims.get("scp", ""))
    scopes = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    names = {str(scope).removeprefix("slipway:") for scope in scopes}
    return frozenset(scope for scope in Scope if scope in names)
