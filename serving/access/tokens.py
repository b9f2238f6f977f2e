"""JSON Web Tokens as access tokens (RFC 9068, RFC 8725): who signed, for whom, until when, for what."""

from collections.abc import Sequence
from typing import Any

import jwt

from slipway.components.errors import BadInput
from slipway.serving.access.caller import Caller, Means, Scope
from slipway.serving.access.jwks import KeySource
from slipway.serving.errors import Unauthenticated

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""All that may be allowed: signatures by a private key. Never `none`, and never HS*, whose key could sign."""
UNTYPED = "none"
"""Among the types: the header names none."""
TYPES = ("at+jwt", "JWT", UNTYPED)
"""Of access tokens: RFC 9068 demands the first, many issuers write the second (RFC 7519, 5.1) or nothing. Another type
says that a token is for something else, a logout or a proof of possession, say (RFC 8725, 3.11)."""
REQUIRED = ["exp", "iss", "aud", "sub"]
LENGTH_LIMIT = 16_384


class Tokens:
    """Checks the tokens of one issuer.

    Args:
        issuer: what `iss` must be.
        audience: what `aud` must be or contain: a token for another service is not good here.
        keys: the issuer's public keys.
        algorithms: those that are allowed.
        leeway_s: how far the clocks may be apart.
        types: what `typ` in the header may be, of `TYPES`.

    Raises:
        BadInput: an algorithm is none of `ALGORITHMS`, or a type none of `TYPES`.
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
        """Whom the token speaks of.

        Raises:
            Unauthenticated: the token is not good; the message has nothing of its content.
            NotCheckable: the issuer's keys cannot be had.
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
        """Raises _WrongType when the token is of a type that is not accepted. `application/` may be left out of one."""
        accepted = self._types - {UNTYPED} if "typ" in header else self._types
        if str(header.get("typ", UNTYPED)).lower().removeprefix("application/") not in accepted:
            raise _WrongType

    async def _key(self, header: dict[str, Any]) -> jwt.PyJWK:
        """The key that the token says it was signed with, for the algorithm that it names."""
        algorithm = header.get("alg")
        if algorithm not in self._algorithms:
            raise jwt.InvalidAlgorithmError
        found = await self._keys.find(header.get("kid"))
        if found is None:
            raise jwt.InvalidKeyError
        if found.get("alg", algorithm) != algorithm:  # the key is meant for another one
            raise jwt.InvalidAlgorithmError
        return jwt.PyJWK(found, algorithm)


class _WrongType(jwt.PyJWTError):
    """The token is for something else than access."""


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
    """The message for the client; the library's own has parts of the token."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "the token cannot be read")


def _scopes(claims: dict[str, Any]) -> frozenset[Scope]:
    """Of the claim `scope` (RFC 8693: words) or `scp` (words or a list); `slipway:predict` counts as `predict`."""
    given = claims.get("scope", claims.get("scp", ""))
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    names = {str(word).removeprefix("slipway:") for word in words}
    return frozenset(scope for scope in Scope if scope in names)
