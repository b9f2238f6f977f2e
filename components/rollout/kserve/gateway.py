"""Where a pod finds the ingress gateway of Standard mode: the way to a service that goes through the split of traffic.

The host in `status.url` is for the world outside, and `status.address` leads past the split to the champion. So the
HTTPRoute, or before there is one KServe's configuration, names the Gateway; its Service in the cluster is known by
the labels of Envoy Gateway or of the Gateway API, and where there is none, by the addresses in the Gateway's status.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import httpx
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from slipway.components.errors import BadInput
from slipway.components.platforms.kubernetes_api import TIMEOUT, asking
from slipway.components.rollout.kserve.api import KSERVE_CONFIG, KSERVE_NAMESPACE

GROUP = "gateway.networking.k8s.io"
ENVOY, ANY = "gateway.envoyproxy.io/owning-gateway", f"{GROUP}/gateway-name"
"""Labels of the Service that Envoy Gateway makes for a Gateway, and of that which others make (GEP-1762)."""
ANSWER_S = 5.0
UNKNOWN, DENIED = 404, (401, 403)


class Place(NamedTuple):
    """A Gateway's namespace and name."""

    namespace: str
    name: str


def address(connection: client.ApiClient, routes: Sequence[dict[str, Any]] = ()) -> str | None:
    """The address within the cluster of the gateway that HTTPRoutes belong to, else of KServe's; None if nobody says.

    What we may not read counts as unknown.

    Args:
        connection: to the cluster.
        routes: HTTPRoutes of a service; none before it is there.

    Raises:
        ApiAway: the API server cannot be reached.
    """
    place = _of(routes) or _configured(connection)
    if place is None:
        return None
    custom = client.CustomObjectsApi(connection)
    gateway = _known(custom.get_namespaced_custom_object, GROUP, "v1", place.namespace, "gateways", place.name) or {}
    scheme, port = _listener(gateway)
    if service := _service(connection, place):
        ports = {found.port for found in service.spec.ports}
        chosen = port if port in ports else service.spec.ports[0].port
        return f"{scheme}://{service.metadata.name}.{service.metadata.namespace}.svc:{chosen}"
    for found in gateway.get("status", {}).get("addresses") or []:
        host = f"[{found['value']}]" if ":" in found["value"] else found["value"]
        return f"{scheme}://{host}:{port}"
    return None


def check(base: str, host: str = "") -> None:
    """See that something answers HTTP there, whatever it answers.

    Args:
        base: scheme, host and port.
        host: for the header Host.

    Raises:
        BadInput: nothing does within seconds; the message names `cluster.gateway`.
    """
    headers = {"Host": host} if host else {}
    try:
        httpx.get(f"{base}/", headers=headers, timeout=ANSWER_S, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise BadInput(
            f"no ingress gateway answers at {base} ({str(error) or type(error).__name__}), so a rollout could not send "
            "requests to the model; set cluster.gateway to the gateway's address from here"
        ) from error


def _of(routes: Sequence[dict[str, Any]]) -> Place | None:
    for route in routes:
        for parent in route.get("spec", {}).get("parentRefs") or []:
            if parent.get("kind", "Gateway") == "Gateway":
                return Place(parent.get("namespace") or route["metadata"]["namespace"], parent["name"])
    return None


def _configured(connection: client.ApiClient) -> Place | None:
    """The Gateway that KServe's configuration names, as `namespace/name`."""
    found = _known(client.CoreV1Api(connection).read_namespaced_config_map, KSERVE_CONFIG, KSERVE_NAMESPACE)
    if found is None:
        return None
    try:
        ingress = json.loads(found.data["ingress"])
        namespace, _, name = ingress["kserveIngressGateway"].partition("/")
        return Place(namespace, name) if ingress.get("enableGatewayApi") and name else None
    except (KeyError, TypeError, ValueError):
        return None


def _listener(gateway: dict[str, Any]) -> tuple[str, int]:
    """Scheme and port of a Gateway's listener for HTTP, else of its first."""
    listeners = gateway.get("spec", {}).get("listeners") or [{"protocol": "HTTP", "port": 80}]
    chosen = next((found for found in listeners if found["protocol"] == "HTTP"), listeners[0])
    return ("http" if chosen["protocol"] == "HTTP" else "https"), int(chosen["port"])


def _service(connection: client.ApiClient, place: Place) -> Any | None:
    core = client.CoreV1Api(connection)
    envoy = f"{ENVOY}-name={place.name},{ENVOY}-namespace={place.namespace}"
    found = _known(core.list_service_for_all_namespaces, label_selector=envoy)
    if not (found and found.items):
        found = _known(core.list_namespaced_service, place.namespace, label_selector=f"{ANY}={place.name}")
    return next((service for service in found.items if service.spec.ports), None) if found else None


def _known(read: Callable[..., Any], *arguments: Any, **options: Any) -> Any | None:
    """What the API server says; None when it is not there, or not for us to see."""
    with asking("look for the ingress gateway"):
        try:
            return read(*arguments, **options, _request_timeout=TIMEOUT)
        except ApiException as error:
            if error.status == UNKNOWN or error.status in DENIED:
                return None
            raise
