"""Clients trust the authorities of the system, and say which variable adds one; so are refused credentials told."""

import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from mlflow.exceptions import RestException

from slipway.components.clients.credentials import AUTHORITIES
from slipway.components.clients.hub_advice import hub_advice
from slipway.components.clients.v2_client import Client
from slipway.components.errors import SlipwayError
from slipway.components.platforms import tracking_server
from slipway.components.rollout.kserve import endpoint, gateway
from slipway.pipelines import kubeflow_api
from tests.authority import Authority


class Answering(BaseHTTPRequestHandler):
    """Answers every request with a JSON object."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Be silent."""


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A private authority."""
    return Authority(tmp_path_factory.mktemp("company"), "company")


@pytest.fixture(scope="module")
def address(company: Authority) -> Iterator[str]:
    """A server whose certificate the company signed."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*company.issue("server"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


CLIENTS: list[Callable[[str], object]] = [
    lambda address: Client(address, model="m").status(),
    lambda address: endpoint.send(endpoint.Endpoint(address, ""), "m", ["text"], {}),
    lambda address: gateway.check(address),
    lambda address: kubeflow_api.check_endpoint(address, ""),
]


@pytest.mark.parametrize("ask", CLIENTS)
def test_a_private_authority_is_trusted_by_the_variable_that_the_message_names(
    address: str, company: Authority, ask: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(AUTHORITIES, raising=False)
    with pytest.raises(SlipwayError, match=f"set {AUTHORITIES} to a PEM file"):
        ask(address)
    monkeypatch.setenv(AUTHORITIES, str(company.path))
    try:
        ask(address)
    except SlipwayError as error:
        assert "CERTIFICATE" not in str(error)  # noqa: PT017  # no model server answers there, but it answers


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("HfHubHTTPError", 401, "refuses HF_TOKEN"),
        ("HfHubHTTPError", 500, ""),
        ("GatedRepoError", 403, "accept its terms"),
        ("RepositoryNotFoundError", 401, ""),
    ],
)
def test_what_a_hub_refuses_is_told_by_its_cause(kind: str, status: int, words: str) -> None:
    error = type(kind, (Exception,), {"response": httpx.Response(status)})("no")
    assert words in hub_advice(error)
    assert bool(words) == bool(hub_advice(error))


def test_a_proxy_that_refuses_the_login_is_not_taken_for_a_broken_registry() -> None:
    refused, broken = (
        RestException({"detail": detail})  # type: ignore[no-untyped-call]
        for detail in ("Unauthorized", "broken")
    )
    assert "MLFLOW_TRACKING_USERNAME" in tracking_server.advice(refused)
    assert "MLFLOW_TRACKING_USERNAME" not in tracking_server.advice(broken)
