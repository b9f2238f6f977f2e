"""The credentials of a client of a model server: an API key or a token, and certificates for TLS."""

import os
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.components.errors import BadInput

API_KEY = "SLIPWAY_API_KEY"
"""Environment variable with an API key or a token."""

AUTHORITIES = "SSL_CERT_FILE"
"""Environment variable with the path of the certificates of the authorities that OpenSSL trusts."""

UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"
"""Part of every client's error message about a certificate that it does not trust."""

LOGIN = re.compile(r"//[^/@\s]+@")
PASSWORD = re.compile(r"//[^/@\s:]*:[^/@\s]+@")


def without_credentials(text: str) -> str:
    """The text with `***` in place of user name and password in every address."""
    return LOGIN.sub("//***@", text)


def holds_password(address: str) -> bool:
    """Whether an address has a password in it."""
    return bool(PASSWORD.search(address))


def api_key() -> str:
    """The key or token in the environment; empty if there is none."""
    return os.environ.get(API_KEY, "").strip()


def bearer(key: str) -> dict[str, str]:
    """The header with a key or token, for REST and gRPC alike; no header for an empty key.

    Raises:
        BadInput: the key has characters that a header may not have. The message does not show the key.
    """
    if not key:
        return {}
    if not re.fullmatch(r"[!-~]+", key):
        raise BadInput("the API key has spaces, line breaks or letters that no key has; give it as it was printed")
    return {"authorization": f"Bearer {key}"}


def credentials() -> dict[str, str]:
    """The header with the key or token in the environment. Raises as `bearer`."""
    return bearer(api_key())


def authorities() -> str | None:
    """The file of the authorities that the system trusts, for clients with a list of their own; None if unknown."""
    return ssl.get_default_verify_paths().cafile


def trusted(address: str) -> ssl.SSLContext | bool:
    """What httpx is to trust at an address: the authorities of the system, to which a company adds its own.

    Without TLS it is False, since to load them takes a moment. By default httpx trusts those of a package only.
    """
    return Tls().context() if address.startswith("https://") else False


def trust_advice(error: BaseException) -> str:
    """What to do about a certificate that is not trusted; empty for another error."""
    if UNTRUSTED not in str(error):
        return ""
    return f"; set {AUTHORITIES} to a PEM file with the certificate of the authority that signed the server's"


@dataclass(frozen=True)
class Tls:
    """TLS of a client. All files are PEM."""

    ca: Path | None = None
    """Certificates of the authorities that sign the servers' certificates; None for those that the system trusts."""
    certificate: Path | None = None
    """The client's certificate, for mutual TLS."""
    key: Path | None = None
    """The private key of the client's certificate."""

    def context(self) -> ssl.SSLContext:
        """The TLS context for REST.

        Raises:
            BadInput: a file cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise BadInput(f"the certificates cannot be used ({error}); expected PEM files that fit: {self}") from error
        return context

    def channel_credentials(self) -> Any:
        """The TLS credentials for gRPC. Raises as `context`."""
        import grpc

        system = authorities()
        paths = (self.ca or (Path(system) if system else None), self.key, self.certificate)
        try:
            ca, key, certificate = (path and path.read_bytes() for path in paths)
        except OSError as error:
            raise BadInput(f"the certificates cannot be read ({error}): {self}") from error
        return grpc.ssl_channel_credentials(ca, key, certificate)
