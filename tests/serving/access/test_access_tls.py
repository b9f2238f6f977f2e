"""TLS and mutual TLS on both ports: who is trusted, and certificates that are renewed while the server runs."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.components.clients.credentials import Tls
from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.clients.v2_client import Client
from slipway.components.errors import BadInput, SlipwayError
from tests.authority import Authority
from tests.serving.conftest import Server, Start

Kind = type[Client] | type[GrpcClient]
KINDS: list[Kind] = [Client, GrpcClient]


def ask(kind: Kind, server: Server, tls: Tls | None, key: str = "") -> str:
    """The label that a client gets."""
    scheme = "https" if tls else "http"
    address = f"{scheme}://127.0.0.1:{server.http_port}" if kind is Client else server.grpc
    with kind(address, model="messages", key=key, timeout_s=20.0, tls=tls) as asked:
        return asked.predict(["late parcel"])[0].label


@dataclass
class Mutual:
    """A server that asks for certificates, the authorities of both sides, and what clients have."""

    server: Server
    servers: Authority
    clients: Authority
    key: str
    friend: Tls
    stranger: Tls
    nobody: Tls


@pytest.fixture(scope="module")
def mutual(module_start: Start, signed_bundle: Path, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory) -> Mutual:
    """A server that trusts the clients of one authority, and takes keys as well."""
    folder = tmp_path_factory.mktemp("tls")
    servers, clients, strangers = (Authority(folder, name) for name in ("servers", "clients", "strangers"))
    certificate, private = servers.issue("server")
    file = folder / "api-keys.json"
    _, key = api_keys.add(file, "desk", [Scope.EXPLAIN])
    options: list[str | Path] = ["--tls_cert", certificate, "--tls_key", private, "--client_ca", clients.path]
    options += ["--api_keys", file, "--header_seconds", "5"]
    server = module_start(signed_bundle, "--public_key", keys.public_key, "--client_scopes", "predict", *options)
    wait_listening(server)
    return Mutual(
        server=server,
        servers=servers,
        clients=clients,
        key=key,
        friend=Tls(servers.path, *clients.issue("phone")),
        stranger=Tls(servers.path, *strangers.issue("intruder")),
        nobody=Tls(servers.path),
    )


def wait_listening(server: Server) -> None:
    until = time.monotonic() + 60
    while "event=listening" not in server.log() and server.process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert "event=listening" in server.log(), server.log()


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_with_a_certificate_is_answered(mutual: Mutual, kind: Kind) -> None:
    assert ask(kind, mutual.server, mutual.friend) == "delivery"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("who", ["stranger", "nobody", "clear"])
def test_a_client_without_a_good_certificate_gets_no_connection(mutual: Mutual, kind: Kind, who: str) -> None:
    with pytest.raises(SlipwayError) as failure:
        ask(kind, mutual.server, getattr(mutual, who, None), mutual.key)
    assert not isinstance(failure.value, BadInput)  # it is not the server's model that refused


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_counts_for_more_than_the_certificate(mutual: Mutual, kind: Kind) -> None:
    with pytest.raises(BadInput, match="'desk' lacks the scope"):
        ask(kind, mutual.server, mutual.friend, mutual.key)


def test_the_name_in_the_certificate_is_the_identity_and_has_the_scopes_of_clients(mutual: Mutual) -> None:
    url = f"https://127.0.0.1:{mutual.server.http_port}/v2/repository/models/messages/unload"
    answer = httpx.post(url, verify=mutual.friend.context(), trust_env=False)
    assert answer.status_code == 403
    assert "'phone' lacks the scope for this: admin" in answer.json()["error"]


@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_handshake_that_does_not_come_to_an_end_ends_the_connection(mutual: Mutual, port: str, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", getattr(mutual.server, port)), timeout=60) as connection:
        connection.sendall(start)
        with suppress(ConnectionError):
            while connection.recv(65536):
                pass


def serial(port: int, tls: Tls) -> int:
    """Of the server's certificate."""
    context = tls.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true() and time.monotonic() < until:
        time.sleep(0.2)
    assert true()


@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
def test_a_renewed_certificate_is_shown_without_a_restart(mutual: Mutual, port: str) -> None:
    number = getattr(mutual.server, port)
    before = serial(number, mutual.friend)
    mutual.servers.issue("server")
    eventually(lambda: serial(number, mutual.friend) != before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_replaced_authority_of_clients_is_trusted_without_a_restart_and_the_former_is_not(
    mutual: Mutual, kind: Kind
) -> None:
    former = mutual.friend
    now = Authority(mutual.clients.folder, "clients")
    mutual.friend = Tls(mutual.servers.path, *now.issue(kind.__name__))
    eventually(lambda: answered(kind, mutual.server, mutual.friend))
    assert not answered(kind, mutual.server, former)


def answered(kind: Kind, server: Server, tls: Tls) -> bool:
    try:
        return ask(kind, server, tls) == "delivery"
    except SlipwayError:
        return False


def test_half_a_renewal_changes_nothing_but_the_log(mutual: Mutual) -> None:
    """A certificate whose key has not come yet."""
    before = serial(mutual.server.http_port, mutual.friend)
    certificate, private = mutual.servers.folder / "server.pem", mutual.servers.folder / "server-key.pem"
    old = certificate.read_bytes(), private.read_bytes()
    mutual.servers.issue("server")
    private.write_bytes(old[1])
    eventually(lambda: (serial(mutual.server.http_port, mutual.friend), "reload_failed" in mutual.server.log())[1])
    assert serial(mutual.server.http_port, mutual.friend) == before
    certificate.write_bytes(old[0])


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_of_tls_are_not_spoken(mutual: Mutual) -> None:
    context = mutual.friend.context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", mutual.server.http_port), timeout=20) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_files_that_do_not_fit_are_named_at_the_start(
    start: Start, signed_bundle: Path, keys: KeyPair, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "servers")
    certificate, _ = authority.issue("one")
    _, private = authority.issue("two")
    server = start(signed_bundle, "--public_key", keys.public_key, "--tls_cert", certificate, "--tls_key", private)
    server.process.wait(60)
    assert server.process.returncode == 2
    assert "one.pem" in server.log().splitlines()[-1]
