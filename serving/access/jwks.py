"""The public keys of a token issuer (RFC 7517), from a file or a URL, as they are rotated."""

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
from slipway.serving.access.reloading_file import Watched
from slipway.serving.errors import NotCheckable

logger = logging.getLogger("serving")
Jwk = dict[str, Any]
REFRESH_S = 300.0
"""Keys from a URL are asked for again after this time, so that one that the issuer took back is soon not trusted."""
MAX_AGE_S = 3600.0
"""How long keys from a URL are trusted while the issuer does not answer. One that it took back, because somebody stole
it, would be good for as long as the thief keeps the issuer away from here."""
COOLDOWN_S = 5.0
"""Between two questions at the least, however many tokens name unknown keys."""
TIMEOUT_S = 5.0
SIZE_LIMIT = 1 << 20


class KeySource(Protocol):
    """Where an issuer's keys come from."""

    async def find(self, kid: str | None) -> Jwk | None:
        """The key with an id; without an id, the only key there is.

        Raises:
            NotCheckable: the keys cannot be had.
        """
        ...


class FileKeys:
    """A JWKS file; a changed one is read again.

    Raises:
        BadInput: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._keys = Watched("jwks", [path], lambda: _read(path))

    async def find(self, kid: str | None) -> Jwk | None:
        """See `KeySource`."""
        return _pick(self._keys.current(), kid)


class UrlKeys:
    """A JWKS document on the web, or the one that an issuer's OpenID configuration names.

    Args:
        url: of the JWKS; empty to ask `issuer` for it (OpenID Connect Discovery 1.0, section 4).
        issuer: of the tokens.
        max_age_s: how long its keys are trusted after its last answer.

    Raises:
        BadInput: an address is not https (http is taken for this machine only: whoever can change the answer can sign).
    """

    def __init__(self, url: str, issuer: str, max_age_s: float = MAX_AGE_S) -> None:
        self._url, self._issuer, self._max_age_s = url, issuer, max_age_s
        _check_url(url or issuer)
        self._keys: list[Jwk] = []
        self._asked = self._answered = float("-inf")
        self._asking = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> Jwk | None:
        """See `KeySource`."""
        found = _pick(self._trusted(), kid)
        if found is None:
            await self._refresh()
            found = _pick(self._trusted(), kid)
        elif self._age() > REFRESH_S and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._refresh())
        if found is None and not self._trusted():
            raise NotCheckable("the issuer's keys cannot be had, so the token cannot be checked")
        return found

    def _trusted(self) -> list[Jwk]:
        """The keys, unless they are too old."""
        return self._keys if self._age() <= self._max_age_s else []

    def _age(self) -> float:
        return time.monotonic() - self._answered

    async def _refresh(self) -> None:
        """Ask again, unless somebody has just done so."""
        async with self._asking:
            if time.monotonic() - self._asked < COOLDOWN_S:
                return
            self._asked = time.monotonic()
            try:
                self._keys = await self._ask()
                self._answered = time.monotonic()
                logger.info("event=reloaded what=jwks keys=%d", len(self._keys))
            except (httpx.HTTPError, httpx.InvalidURL, BadInput) as error:
                left = max(0.0, self._max_age_s - self._age())
                logger.error(
                    "event=reload_failed what=jwks error=%s reason=%r; the issuer's keys are trusted for %.0f s more%s",
                    *(type(error).__name__, str(error), left, "" if left else ", so tokens are refused"),
                )

    async def _ask(self) -> list[Jwk]:
        # The environment may name a proxy and certificates of a company, so it is trusted.
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
    async with http.stream("GET", url) as answer:
        answer.raise_for_status()
        body = b""
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > SIZE_LIMIT:
                raise BadInput(f"{url} answers with more than {SIZE_LIMIT} bytes")
    return _object(body, url)


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    here = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise BadInput(f"the keys of a token issuer must come from https://…, not from {url!r}; or give a JWKS file")


def _read(path: Path) -> list[Jwk]:
    try:
        return _keys(_object(path.read_bytes(), str(path)), str(path))
    except OSError as error:
        raise BadInput(f"the JWKS file {path} cannot be read ({error.strerror})") from error


def _object(content: bytes, origin: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{origin} is not JSON") from error
    if not isinstance(found, dict):
        raise BadInput(f"{origin} is not a JSON object")
    return found


def _keys(document: dict[str, Any], origin: str) -> list[Jwk]:
    """The keys for signatures. Secrets that are shared (`oct`) are no public keys and are left out."""
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
