"""Finds the address within the cluster of the ingress gateway of Standard mode, for a rollout that runs in a pod.

A pod cannot use the addresses in the service's status: the host in `status.url` is for clients outside the cluster, and
`status.address` bypasses the split and leads to the champion. So the Gateway's name comes from the HTTPRoute, or from
KServe's configuration before there is one. The Gateway's Service has labels of Envoy Gateway or of the Gateway API.
Where there is no such Service, the addresses in the Gateway's status are used.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import httpx
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from slipway.components.clients.credentials import trust_advice, trusted
from slipway.components.errors import BadInput
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking
from slipway.components.rollout.kserve.api import KSERVE_CONFIG, KSERVE_NAMESPACE

GROUP = "gateway.networking.k8s.io"
ENVOY, ANY = "gateway.envoyproxy.io/owning-gateway", f"{GROUP}/gateway-name"
"""Labels of the Service of a Gateway: those of Envoy Gateway, and the standard one of other gateways (GEP-1762)."""
ANSWER_S = 5.0
"""Time limit of the gateway's response, in seconds."""
UNKNOWN, DENIED = 404, (401, 403)


class GatewayName(NamedTuple):
    """A Gateway's namespace and name."""

    namespace: str
    name: str


def address(connection: client.ApiClient, routes: Sequence[dict[str, Any]] = ()) -> str | None:
    """The address of the HTTPRoutes' gateway, else of KServe's; None when it is not known.

    Objects that this process has no rights to read count as missing.

    Args:
        connection: to the cluster.
        routes: HTTPRoutes of a service; empty before the service exists.

    Raises:
        ApiAway: the API server cannot be reached.
    """
    gateway_name = _gateway_of(routes) or _configured(connection)
    if gateway_name is None:
        return None
    custom = client.CustomObjectsApi(connection)
    gateway = (
        _readable(
            custom.get_namespaced_custom_object, GROUP, "v1", gateway_name.namespace, "gateways", gateway_name.name
        )
        or {}
    )
    scheme, port = _listener(gateway)
    if service := _service(connection, gateway_name):
        ports = {service_port.port for service_port in service.spec.ports}
        chosen = port if port in ports else service.spec.ports[0].port
        return f"{scheme}://{service.metadata.name}.{service.metadata.namespace}.svc:{chosen}"
    for listed in gateway.get("status", {}).get("addresses") or []:
        host = f"[{listed['value']}]" if ":" in listed["value"] else listed["value"]  # IPv6 needs brackets
        return f"{scheme}://{host}:{port}"
    return None


def check(base: str, host: str = "") -> None:
    """Check that a server at the address answers HTTP, with any status.

    Args:
        base: scheme, host and port.
        host: value of the header Host, or empty.

    Raises:
        BadInput: there is no response within `ANSWER_S`; the message names `cluster.gateway`.
    """
    headers = {"Host": host} if host else {}
    try:
        httpx.get(f"{base}/", headers=headers, timeout=ANSWER_S, trust_env=False, verify=trusted(base))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BadInput(
            f"no ingress gateway answers at {base} ({str(error) or type(error).__name__}), so a rollout could not send "
            "requests to the model; set cluster.gateway to the gateway's address from here"
            f"{trust_advice(error)}"
        ) from error


def _gateway_of(routes: Sequence[dict[str, Any]]) -> GatewayName | None:
    """The Gateway that HTTPRoutes name as their parent."""
    for route in routes:
        for parent in route.get("spec", {}).get("parentRefs") or []:
            if parent.get("kind", "Gateway") == "Gateway":
                return GatewayName(parent.get("namespace") or route["metadata"]["namespace"], parent["name"])
    return None


def _configured(connection: client.ApiClient) -> GatewayName | None:
    """The Gateway that KServe's configuration names, as `namespace/name`."""
    config = _readable(client.CoreV1Api(connection).read_namespaced_config_map, KSERVE_CONFIG, KSERVE_NAMESPACE)
    if config is None:
        return None
    try:
        ingress = json.loads(config.data["ingress"])
        namespace, _, name = ingress["kserveIngressGateway"].partition("/")
        return GatewayName(namespace, name) if ingress.get("enableGatewayApi") and name else None
    except (KeyError, TypeError, ValueError):
        return None


def _listener(gateway: dict[str, Any]) -> tuple[str, int]:
    """Scheme and port of a Gateway's listener for HTTP, else of its first listener."""
    listeners = gateway.get("spec", {}).get("listeners") or [{"protocol": "HTTP", "port": 80}]
    chosen = next((listener for listener in listeners if listener["protocol"] == "HTTP"), listeners[0])
    return ("http" if chosen["protocol"] == "HTTP" else "https"), int(chosen["port"])


def _service(connection: client.ApiClient, gateway: GatewayName) -> Any | None:
    """The Service (`V1Service`) of a Gateway; None when it is not known."""
    core = client.CoreV1Api(connection)
    # By default Envoy Gateway keeps the Services of all Gateways in its own namespace; others use the Gateway's.
    envoy = f"{ENVOY}-name={gateway.name},{ENVOY}-namespace={gateway.namespace}"
    services = _readable(core.list_service_for_all_namespaces, label_selector=envoy)
    if not (services and services.items):
        services = _readable(core.list_namespaced_service, gateway.namespace, label_selector=f"{ANY}={gateway.name}")
    return next((service for service in services.items if service.spec.ports), None) if services else None


def _readable(read: Callable[..., Any], *arguments: Any, **options: Any) -> Any | None:
    """The result of a request to the API server; None when the object does not exist or this process has no rights."""
    with asking("look for the ingress gateway"):
        try:
            return read(*arguments, **options, _request_timeout=TIMEOUT)
        except ApiException as error:
            if error.status == UNKNOWN or error.status in DENIED:
                return None
            raise
