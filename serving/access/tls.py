"""TLS on both ports, with certificates that may be renewed while the server runs, and names of clients from theirs."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from slipway.components.errors import BadInput
from slipway.serving.access.reloading_file import Watched


@dataclass(frozen=True)
class Certificates:
    """The PEM files of a server.

    Attributes:
        certificate: the server's, with the intermediate ones after it.
        key: its private key.
        client_ca: who signs the certificates that clients must have; None when they need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [path for path in (self.certificate, self.key, self.client_ca) if path]


def server_context(files: Certificates) -> ssl.SSLContext:
    """TLS for REST. Every handshake is done with the files as they are at that time.

    Raises:
        BadInput: the files cannot be used.
    """
    watched = Watched("certificates", files.paths, lambda: _context(files))
    outer = _context(files)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = watched.current()

    outer.sni_callback = choose  # OpenSSL asks in every handshake, also when the client names no server
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
    """TLS for gRPC, likewise.

    Raises:
        BadInput: the files cannot be used.
    """
    watched = Watched("certificates_grpc", files.paths, lambda: _configuration(files))
    return grpc.dynamic_ssl_server_credentials(
        watched.current(), _fetcher(watched), require_client_authentication=files.client_ca is not None
    )


def _fetcher(watched: Watched[Any]) -> Callable[[], Any]:
    """What gRPC asks before every handshake: the new configuration, or None when it is the same."""
    given = watched.current()

    def fetch() -> Any:
        nonlocal given
        now = watched.current()
        if now is given:
            return None
        given = now
        return now

    return fetch


def _configuration(files: Certificates) -> Any:
    _context(files)  # gRPC would find out about unusable files only when a client comes
    try:
        authorities = files.client_ca.read_bytes() if files.client_ca else None
        pair = (files.key.read_bytes(), files.certificate.read_bytes())
    except OSError as error:
        raise BadInput(f"the certificates cannot be read ({error})") from error
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=authorities)


def certificate_name(certificate: Mapping[str, Any] | None) -> str | None:
    """The client's name in what `ssl` says of its certificate: the common name, else the first alternative name."""
    if not certificate:
        return None
    subject = [pair for part in certificate.get("subject", ()) for pair in part]
    common = [value for name, value in subject if name == "commonName"]
    others = [value for _, value in certificate.get("subjectAltName", ())]
    return next(iter([*common, *others]), None)


def call_certificate_name(auth_context: Mapping[str, Any]) -> str | None:
    """The same for a call of gRPC."""
    names = [*auth_context.get("x509_common_name", ()), *auth_context.get("x509_subject_alternative_name", ())]
    return names[0].decode("utf-8", "replace") if names else None
