"""The public keys of a token issuer (JWKS, RFC 7517), read from a file or a URL and renewed when the issuer rotates."""

import asyncio
import json
import logging
import ssl
import time
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from slipway.components.errors import BadInput
from slipway.serving.access.reloading_file import ReloadingFile
from slipway.serving.errors import NotCheckable

logger = logging.getLogger("serving")
Jwk = dict[str, Any]
REFRESH_S = 300.0
"""Keys from a URL are fetched again after this time, so that a key that the issuer revoked is soon not trusted."""
MAX_AGE_S = 3600.0
"""How long keys from a URL are trusted while the issuer does not answer. Without this bound, a stolen key that the
issuer revoked would stay valid for as long as the thief can block this server's requests to the issuer."""
COOLDOWN_S = 5.0
"""Shortest time between two requests to the issuer. Anybody can send tokens that name unknown keys."""
TIMEOUT_S = 5.0
SIZE_LIMIT = 1 << 20
"""Most bytes of a response from the issuer."""


class KeySource(Protocol):
    """A source of an issuer's keys."""

    async def find(self, kid: str | None) -> Jwk | None:
        """The key with the id `kid`, or the only key if `kid` is None; None if there is no such key.

        Raises:
            NotCheckable: the keys are not available now.
        """
        ...


class FileKeys:
    """The keys in a JWKS file, which is read again when it changes.

    Raises:
        BadInput: the file cannot be read, or has no public keys for signatures.
    """

    def __init__(self, path: Path) -> None:
        self._keys = ReloadingFile("jwks", [path], lambda: _read(path))

    async def find(self, kid: str | None) -> Jwk | None:
        """See `KeySource`."""
        return _pick(self._keys.current(), kid)


class UrlKeys:
    """The keys in a JWKS document at a URL, which may come from the issuer's OpenID configuration.

    Args:
        url: of the JWKS; empty to read it from the configuration of `issuer` (OpenID Connect Discovery 1.0, section 4).
        issuer: of the tokens.
        max_age_s: seconds that the keys are trusted after the last successful response.

    Raises:
        BadInput: an address is not https. Only this machine may use http, since whoever can change the response can
            sign tokens.
    """

    def __init__(self, url: str, issuer: str, max_age_s: float = MAX_AGE_S) -> None:
        self._url, self._issuer, self._max_age_s = url, issuer, max_age_s
        _check_url(url or issuer)
        self._keys: list[Jwk] = []
        self._last_attempt = self._last_success = float("-inf")
        self._refresh_lock = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Jwk | None:
        """See `KeySource`."""
        key = _pick(self._trusted(), kid)
        if key is None:
            await self._refresh()
            key = _pick(self._trusted(), kid)
        elif self._age() > REFRESH_S and (self._refreshing is None or self._refreshing.done()):
            # The key is known, so the request need not wait for the issuer.
            self._refreshing = asyncio.create_task(self._refresh())
        if key is None and not self._trusted():
            raise NotCheckable("the issuer's keys cannot be had, so the token cannot be checked")
        return key

    def _trusted(self) -> list[Jwk]:
        """The keys; none if they are too old."""
        return self._keys if self._age() <= self._max_age_s else []

    def _age(self) -> float:
        return time.monotonic() - self._last_success

    async def _refresh(self) -> None:
        """Fetch the keys again, unless the last attempt was less than `COOLDOWN_S` ago."""
        async with self._refresh_lock:
            if time.monotonic() - self._last_attempt < COOLDOWN_S:
                return
            self._last_attempt = time.monotonic()
            try:
                self._keys = await self._fetch()
                self._last_success = time.monotonic()
                logger.info("event=reloaded what=jwks keys=%d", len(self._keys))
            except (httpx.HTTPError, httpx.InvalidURL, BadInput) as error:
                left = max(0.0, self._max_age_s - self._age())
                logger.error(
                    "event=reload_failed what=jwks error=%s reason=%r; the issuer's keys are trusted for %.0f s more%s",
                    *(type(error).__name__, str(error), left, "" if left else ", so tokens are refused"),
                )

    async def _fetch(self) -> list[Jwk]:
        # httpx takes a proxy from the environment, and OpenSSL certificates: a company network may need both.
        async with httpx.AsyncClient(timeout=TIMEOUT_S, verify=ssl.create_default_context()) as http:
            url = self._url
            if not url:
                document = await _get(http, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
                url = str(document.get("jwks_uri", ""))
                if document.get("issuer") != self._issuer:
                    raise BadInput(f"the OpenID configuration of {self._issuer} is that of another issuer")
                _check_url(url)
            return _keys(await _get(http, url), url)


async def _get(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with http.stream("GET", url) as response:
        response.raise_for_status()
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > SIZE_LIMIT:
                raise BadInput(f"{url} answers with more than {SIZE_LIMIT} bytes")
    return _object(body, url)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    is_local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise BadInput(f"the keys of a token issuer must come from https://…, not from {url!r}; or give a JWKS file")


def _read(path: Path) -> list[Jwk]:
    try:
        return _keys(_object(path.read_bytes(), str(path)), str(path))
    except OSError as error:
        raise BadInput(f"the JWKS file {path} cannot be read ({error.strerror})") from error


def _object(content: bytes, origin: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{origin} is not JSON") from error
    if not isinstance(document, dict):
        raise BadInput(f"{origin} is not a JSON object")
    return document


def _keys(document: dict[str, Any], origin: str) -> list[Jwk]:
    """The public keys for signatures in a JWKS document. Shared secrets (`oct`) are not public and are left out."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise BadInput(f"{origin} is not a JWKS document: it has no list 'keys'")
    keys = [key for key in listed if isinstance(key, dict)]
    keys = [key for key in keys if key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"]
    if not keys:
        raise BadInput(f"{origin} has no public key for signatures")
    return keys


def _pick(keys: list[Jwk], kid: str | None) -> Jwk | None:
    if kid is None:
        return keys[0] if len(keys) == 1 else None
    return next((key for key in keys if key.get("kid") == kid), None)
