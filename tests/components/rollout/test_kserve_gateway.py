"""How a pod finds the gateway of Standard mode, and what is told before a run when no answer would come through it."""

import json
import os
from typing import Any

import pytest

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.kubernetes_api import connect
from slipway.components.rollout.kserve import gateway
from slipway.components.rollout.kserve.model import check_reachable
from tests.components.rollout.conftest import MakeSite
from tests.components.rollout.kserve_cluster import NAME
from tests.components.rollout.kserve_site import FIRST, Site

GATEWAY = "/apis/gateway.networking.k8s.io/v1/namespaces/kserve/gateways/kserve-ingress-gateway"
CONFIG = "/api/v1/namespaces/kserve/configmaps/inferenceservice-config"
OWNED = "gateway.envoyproxy.io/owning-gateway"
ENVOY = f"/api/v1/services?labelSelector={OWNED}-name=kserve-ingress-gateway,{OWNED}-namespace=kserve"
OTHERS = (
    "/api/v1/namespaces/kserve/services?labelSelector=gateway.networking.k8s.io/gateway-name=kserve-ingress-gateway"
)
ROUTE: dict[str, Any] = {
    "metadata": {"namespace": "models"},
    "spec": {"parentRefs": [{"kind": "Gateway", "namespace": "kserve", "name": "kserve-ingress-gateway"}]},
}
EMPTY: dict[str, Any] = {"items": []}


def listening(port: int = 80, *addresses: str) -> dict[str, Any]:
    """A Gateway. Behind a node port its addresses are those of nodes, where nobody listens on its port."""
    listeners = [
        {"name": "https", "protocol": "HTTPS", "port": 443},
        {"name": "http", "protocol": "HTTP", "port": port},
    ]
    found = [{"type": "IPAddress", "value": value} for value in addresses]
    return {"spec": {"listeners": listeners}, "status": {"addresses": found}}


def services(name: str, namespace: str, *ports: int) -> dict[str, Any]:
    """A list of one Service."""
    spec = {"ports": [{"port": port} for port in ports], "clusterIP": "10.96.0.7"}
    return {"items": [{"metadata": {"name": name, "namespace": namespace}, "spec": spec}]}


def config(enabled: bool = True) -> dict[str, Any]:
    """KServe's configuration."""
    ingress = {"enableGatewayApi": enabled, "kserveIngressGateway": "kserve/kserve-ingress-gateway"}
    return {"data": {"ingress": json.dumps(ingress), "deploy": json.dumps({"defaultDeploymentMode": "Standard"})}}


@pytest.mark.parametrize(
    ("objects", "routes", "expected"),
    [
        (
            {ENVOY: services("envoy-x", "envoy-gateway-system", 80)},
            [ROUTE],
            "http://envoy-x.envoy-gateway-system.svc:80",
        ),
        (
            {GATEWAY: listening(8080, "172.18.0.2"), ENVOY: services("envoy-x", "gateways", 9000, 8080)},
            [ROUTE],
            "http://envoy-x.gateways.svc:8080",
        ),
        ({ENVOY: EMPTY, OTHERS: services("istio-x", "kserve", 80)}, [ROUTE], "http://istio-x.kserve.svc:80"),
        ({GATEWAY: listening(8080, "192.0.2.7"), ENVOY: EMPTY, OTHERS: EMPTY}, [ROUTE], "http://192.0.2.7:8080"),
        ({GATEWAY: listening(80, "fd00::7"), ENVOY: EMPTY, OTHERS: EMPTY}, [ROUTE], "http://[fd00::7]:80"),
        ({CONFIG: config(), ENVOY: services("envoy-x", "gateways", 80)}, [], "http://envoy-x.gateways.svc:80"),
        ({CONFIG: config(enabled=False), ENVOY: services("envoy-x", "gateways", 80)}, [], None),
        ({}, [ROUTE], None),
        ({}, [], None),
    ],
)
def test_the_gateway_is_found_from_its_route_or_from_kserve(
    make_site: MakeSite, objects: dict[str, Any], routes: list[Any], expected: str | None
) -> None:
    make_site().cluster.objects |= objects
    assert gateway.address(connect(), routes) == expected


def test_what_we_may_not_see_is_not_known(make_site: MakeSite) -> None:
    cluster = make_site().cluster
    cluster.forbidden |= {CONFIG, GATEWAY, ENVOY, OTHERS}
    assert gateway.address(connect(), [ROUTE]) is None
    assert gateway.address(connect()) is None


@pytest.fixture
def in_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process a step's."""
    monkeypatch.setenv("KFP_NAMESPACE", "kubeflow")


def away_from_gateway(site: Site) -> Site:
    site.settings = site.settings.model_copy(update={"gateway": ""})
    return site


@pytest.mark.usefixtures("in_pod")
def test_a_step_in_a_pod_goes_through_the_gateway_s_service_with_the_model_s_host(make_site: MakeSite) -> None:
    site = away_from_gateway(make_site())
    site.cluster.objects[ENVOY] = services("envoy-x", "gateways", 80)
    found = site.serve(FIRST).endpoint()
    assert found == ("http://envoy-x.gateways.svc:80", f"{NAME}-models.example.com")


def test_outside_of_a_cluster_the_service_s_own_host_is_used(make_site: MakeSite) -> None:
    assert "KFP_NAMESPACE" not in os.environ
    found = away_from_gateway(make_site()).serve(FIRST).endpoint()
    assert found == (f"http://{NAME}-models.example.com", "")


def test_a_gateway_that_answers_anything_is_good_before_and_after_there_is_a_service(make_site: MakeSite) -> None:
    site = make_site()
    check_reachable(NAME, site.settings)  # it answers 404
    site.serve(FIRST)
    check_reachable(NAME, site.settings)


@pytest.mark.parametrize("served", [False, True])
def test_a_gateway_that_does_not_answer_is_told_with_the_way_out(make_site: MakeSite, served: bool) -> None:
    site = make_site()
    if served:
        site.serve(FIRST)
    away = site.settings.model_copy(update={"gateway": "http://127.0.0.1:9"})
    with pytest.raises(BadInput, match=r"no ingress gateway answers at http://127.0.0.1:9 .*set cluster.gateway"):
        check_reachable(NAME, away)


@pytest.mark.usefixtures("in_pod")
def test_a_pod_that_knows_no_gateway_is_told_so_before_the_run(make_site: MakeSite) -> None:
    site = away_from_gateway(make_site())
    with pytest.raises(BadInput, match="no ingress gateway of KServe's Standard mode is known here.*cluster.gateway"):
        check_reachable(NAME, site.settings)
    site.cluster.objects |= {CONFIG: config(), GATEWAY: listening(int(site.gateway.rpartition(":")[2]), "127.0.0.1")}
    check_reachable(NAME, site.settings)


def test_another_s_service_of_the_name_is_told_before_the_run(make_site: MakeSite) -> None:
    site = make_site()
    site.serve(FIRST)
    for annotation in list(site.service()["metadata"]["annotations"]):
        del site.service()["metadata"]["annotations"][annotation]
    with pytest.raises(SlipwayError, match="was not made by Slipway"):
        check_reachable(NAME, site.settings)
