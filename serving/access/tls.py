"""TLS for both ports, with certificates that may be renewed while the server runs, and names in client certificates."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from slipway.components.errors import BadInput
from slipway.serving.access.reloading_file import ReloadingFile


@dataclass(frozen=True)
class Certificates:
    """The PEM files of a server.

    Attributes:
        certificate: the server's certificate, with the intermediate certificates after it.
        key: its private key.
        client_ca: the authority that must have signed a client's certificate; None if clients need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [path for path in (self.certificate, self.key, self.client_ca) if path]


def server_context(files: Certificates) -> ssl.SSLContext:
    """The TLS context for REST. Every handshake uses the files as they are at that time.

    Raises:
        BadInput: the files cannot be used.
    """
    reloading = ReloadingFile("certificates", files.paths, lambda: _context(files))
    outer = _context(files)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = reloading.current()

    outer.sni_callback = choose  # OpenSSL calls it in every handshake, even if the client sends no server name
    return outer


def _context(files: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A resumed session would skip the check of a client's certificate against a renewed authority.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    try:
        context.load_cert_chain(files.certificate, files.key)
        if files.client_ca:
            context.load_verify_locations(files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        names = ", ".join(map(str, files.paths))
        raise BadInput(f"the certificates cannot be used ({error}); expected PEM files that fit: {names}") from error
    return context


def grpc_credentials(files: Certificates) -> grpc.ServerCredentials:
    """The TLS credentials for gRPC. Every handshake uses the files as they are at that time.

    Raises:
        BadInput: the files cannot be used.
    """
    reloading = ReloadingFile("certificates_grpc", files.paths, lambda: _configuration(files))
    return grpc.dynamic_ssl_server_credentials(
        reloading.current(), _fetcher(reloading), require_client_authentication=files.client_ca is not None
    )


def _fetcher(reloading: ReloadingFile[Any]) -> Callable[[], Any]:
    """The function that gRPC calls before every handshake: it returns a new configuration, else None."""
    last = reloading.current()

    def fetch() -> Any:
        nonlocal last
        current = reloading.current()
        if current is last:
            return None
        last = current
        return current

    return fetch


def _configuration(files: Certificates) -> Any:
    _context(files)  # checks the files, since gRPC would report unusable ones only when a client connects
    try:
        authorities = files.client_ca.read_bytes() if files.client_ca else None
        key_and_chain = (files.key.read_bytes(), files.certificate.read_bytes())
    except OSError as error:
        raise BadInput(f"the certificates cannot be read ({error})") from error
    return grpc.ssl_server_certificate_configuration([key_and_chain], root_certificates=authorities)


def certificate_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The name in a client certificate: its common name, else its first alternative name; None if it has neither.

    Args:
        certificate: as `ssl.SSLSocket.getpeercert` returns it.
    """
    if not certificate:
        return None
    subject = [attribute for part in certificate.get("subject", ()) for attribute in part]
    common_names = [value for name, value in subject if name == "commonName"]
    alternative_names = [value for _, value in certificate.get("subjectAltName", ())]
    return next(iter([*common_names, *alternative_names]), None)


def call_certificate_name(auth_context: Mapping[str, Any]) -> str | None:
    """The same for a call over gRPC; `auth_context` is that of `grpc.aio.ServicerContext`."""
    names = [*auth_context.get("x509_common_name", ()), *auth_context.get("x509_subject_alternative_name", ())]
    return names[0].decode("utf-8", "replace") if names else None
