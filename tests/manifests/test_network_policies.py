"""Who reaches whom by the NetworkPolicies of each overlay: what the flow needs, and nothing else."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.components.learning.settings import TrainSettings
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.train.job_manifest import APP_LABELS, job_manifest
from tests.manifests.network_rules import Peer, allowed

OVERLAYS = Path(__file__).parents[2] / "manifests" / "overlays"
SERVED = {"serving.kserve.io/inferenceservice": "messages"}
RUN = {"pipeline/runid": "1f0c"}
STEPS = {"slipway.dev/steps": "true"}

POD = {
    "mlflow": Peer("slipway", {"app.kubernetes.io/name": "mlflow"}),
    "s3": Peer("slipway", {"app.kubernetes.io/name": "s3"}),
    "trainer": Peer("slipway", APP_LABELS),
    "server": Peer("slipway", SERVED),
    "step": Peer("kubeflow", RUN, STEPS),
    "step here": Peer("slipway", RUN),
    "other pod of Kubeflow": Peer("kubeflow", {"app": "ml-pipeline-ui"}, STEPS),
    "run elsewhere": Peer("default", RUN),
    "neighbour": Peer("slipway", {"app": "notebook"}),
    "stranger": Peer("default", {"app": "notebook"}),
    "disguised trainer": Peer("default", APP_LABELS),
    "disguised server": Peer("default", SERVED),
    "disguised gateway": Peer("default", {"app": "3scale-kourier-gateway"}),
    "dns": Peer("kube-system", {"k8s-app": "kube-dns"}),
    "other pod of the system": Peer("kube-system", {"k8s-app": "metrics-server"}),
    "kourier": Peer("kourier-system", {"app": "3scale-kourier-gateway"}),
    "activator": Peer("knative-serving", {"app": "activator"}),
    "autoscaler": Peer("knative-serving", {"app": "autoscaler"}),
    "envoy gateway": Peer(
        "envoy-gateway-system",
        {"app.kubernetes.io/component": "proxy", "app.kubernetes.io/managed-by": "envoy-gateway"},
    ),
    "envoy gateway's controller": Peer("envoy-gateway-system", {"control-plane": "envoy-gateway"}),
    "prometheus": Peer("monitoring", {"app.kubernetes.io/name": "prometheus"}),
    "grafana": Peer("monitoring", {"app.kubernetes.io/name": "grafana"}),
    "konnectivity": Peer("kube-system", {"k8s-app": "konnectivity-agent"}),
    "internet": Peer(address="203.0.113.9"),
    "metadata service": Peer(address="169.254.169.254"),
}
NEEDED = [
    # train
    ("step", "s3", 9000),
    ("step", "mlflow", 5000),
    ("step here", "s3", 9000),
    ("step here", "mlflow", 5000),
    ("step here", "internet", 443),
    ("trainer", "dns", 53),
    ("trainer", "s3", 9000),
    ("trainer", "mlflow", 5000),
    ("trainer", "trainer", 23456),
    ("trainer", "trainer", 41234),
    # serve: Knative mode, Standard mode, metrics
    ("server", "dns", 53),
    ("server", "s3", 9000),
    ("kourier", "server", 8012),
    ("kourier", "server", 8013),
    ("activator", "server", 8012),
    ("autoscaler", "server", 9090),
    ("envoy gateway", "server", 8080),
    ("envoy gateway", "server", 8081),
    ("prometheus", "server", 8082),
    ("prometheus", "server", 9091),
    ("konnectivity", "server", 8080),
    ("konnectivity", "server", 8082),
]
ATTACKS = [
    # the platform: nobody else gets in, a model server not to MLflow, and it gets to nobody
    ("stranger", "s3", 9000),
    ("stranger", "mlflow", 5000),
    ("neighbour", "s3", 9000),
    ("neighbour", "mlflow", 5000),
    ("run elsewhere", "mlflow", 5000),
    ("other pod of Kubeflow", "mlflow", 5000),
    ("other pod of Kubeflow", "s3", 9000),
    ("disguised trainer", "s3", 9000),
    ("disguised trainer", "mlflow", 5000),
    ("disguised server", "s3", 9000),
    ("server", "mlflow", 5000),
    ("step", "s3", 22),
    ("mlflow", "internet", 443),
    ("mlflow", "dns", 53),
    ("mlflow", "s3", 9000),
    ("s3", "internet", 443),
    ("s3", "dns", 53),
    # trainers: from nobody but each other, to nobody else
    ("stranger", "trainer", 23456),
    ("step", "trainer", 23456),
    ("server", "trainer", 23456),
    ("disguised trainer", "trainer", 23456),
    ("trainer", "server", 8080),
    ("trainer", "internet", 443),
    ("trainer", "metadata service", 80),
    ("trainer", "stranger", 8080),
    ("trainer", "other pod of the system", 443),
    ("trainer", "dns", 8080),
    # model servers: past the gateway, to metrics that are not theirs, and out
    ("stranger", "server", 8080),
    ("stranger", "server", 8082),
    ("neighbour", "server", 8012),
    ("step", "server", 8080),
    ("step", "server", 8082),
    ("step here", "server", 8082),
    ("server", "server", 8080),
    ("disguised gateway", "server", 8012),
    ("kourier", "server", 8080),
    ("kourier", "server", 8082),
    ("activator", "server", 8082),
    ("envoy gateway", "server", 8082),
    ("envoy gateway's controller", "server", 8080),
    ("prometheus", "server", 8080),
    ("prometheus", "mlflow", 5000),
    ("grafana", "server", 8082),
    ("other pod of the system", "server", 8080),
    ("internet", "server", 8080),
    ("server", "internet", 443),
    ("server", "metadata service", 80),
    ("server", "trainer", 23456),
    ("neighbour", "internet", 443),
]


def rendered(overlay: str) -> list[dict[str, Any]]:
    """All objects of an overlay."""
    done = subprocess.run(["kubectl", "kustomize", OVERLAYS / overlay], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=["kind", "kubeflow"])
def policies(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The NetworkPolicies of an overlay."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    return [item for item in rendered(request.param) if item["kind"] == "NetworkPolicy"]


def test_what_the_flow_needs_is_allowed(policies: list[dict[str, Any]]) -> None:
    protocols = {53: ("UDP", "TCP")}
    assert [
        (source, to, port, protocol)
        for source, to, port in NEEDED
        for protocol in protocols.get(port, ("TCP",))
        if not allowed(policies, POD[source], POD[to], port, protocol)
    ] == []


def test_nothing_else_is(policies: list[dict[str, Any]]) -> None:
    assert [one for one in ATTACKS if allowed(policies, POD[one[0]], POD[one[1]], one[2])] == []


def test_every_pod_of_the_namespace_is_closed_both_ways_unless_a_policy_opens_it(
    policies: list[dict[str, Any]],
) -> None:
    unknown = Peer("slipway", {})
    assert not any(allowed(policies, unknown, POD[name], 443) for name in POD)
    assert not any(allowed(policies, POD[name], unknown, 80) for name in POD if name != "step here")


def test_the_api_server_reaches_model_servers_from_the_addresses_of_the_overlay() -> None:
    for overlay, address in (("kind", "172.18.0.3"), ("kubeflow", "192.0.2.1")):
        policies = [item for item in rendered(overlay) if item["kind"] == "NetworkPolicy"]
        server = Peer(address=address)
        assert [port for port in (8080, 8081, 8082, 9090) if allowed(policies, server, POD["server"], port)] == [
            8080,
            8082,
        ]
        assert not allowed(policies, server, POD["mlflow"], 5000)


@pytest.mark.parametrize(("kind", "other"), [("trainer", "server"), ("model-server", "trainer")])
def test_a_value_of_an_overlay_opens_the_way_to_a_store_elsewhere(
    policies: list[dict[str, Any]], kind: str, other: str
) -> None:
    store = {"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}], "ports": [{"port": 443, "protocol": "TCP"}]}
    changed = [
        policy | {"spec": policy["spec"] | {"egress": [store]}}
        if policy["metadata"]["name"] == f"{kind}-outside"
        else policy
        for policy in policies
    ]
    assert changed != policies
    place, own = Peer(address="198.51.100.7"), POD[kind.removeprefix("model-")]
    assert allowed(changed, own, place, 443)
    assert not allowed(changed, own, place, 22)
    assert not allowed(changed, own, POD["internet"], 443)
    assert not allowed(changed, POD[other], place, 443)


COLLECTOR = Peer("observability", {"app.kubernetes.io/name": "opentelemetry-collector"})
PRIVATE = Peer(address="10.3.2.1")
OPTIONS = [
    (
        "model-server-to-issuer",
        ("server", Peer(address="192.0.2.10"), 443),
        ("trainer", Peer(address="192.0.2.10"), 443),
    ),
    ("model-server-to-tracing", ("server", COLLECTOR, 4317), ("server", POD["stranger"], 4317)),
    ("tracking-from-pipelines", (Peer("kubeflow", {"app": "ml-pipeline"}), "mlflow", 5000), ("server", "mlflow", 5000)),
    ("trainer-to-hub", ("trainer", "internet", 443), ("trainer", PRIVATE, 443)),
    ("trainer-to-hub", ("trainer", "internet", 443), ("trainer", "metadata service", 443)),
    ("trainer-to-hub", ("trainer", "internet", 443), ("server", "internet", 443)),
]


@pytest.mark.parametrize(("name", "opened", "closed"), OPTIONS)
def test_an_option_opens_one_way_and_no_other(
    policies: list[dict[str, Any]],
    name: str,
    opened: tuple[str | Peer, str | Peer, int],
    closed: tuple[str | Peer, str | Peer, int],
) -> None:
    text = (OVERLAYS.parent / "network-options.yaml").read_text("utf-8")
    (option,) = [item for item in yaml.safe_load_all(text) if item["metadata"]["name"] == name]
    peers = [POD[peer] if isinstance(peer, str) else peer for peer in (*opened[:2], *closed[:2])]
    assert not allowed(policies, peers[0], peers[1], opened[2])
    assert allowed([*policies, option], peers[0], peers[1], opened[2])
    assert not allowed([*policies, option], peers[2], peers[3], closed[2])


def test_the_labels_are_those_of_the_pods_that_are_made(policies: list[dict[str, Any]]) -> None:
    job = job_manifest("train-1", "1", "s3://slipway/x", TrainSettings(), ClusterSettings(), "slipway")
    pod = job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["metadata"]["labels"]
    assert allowed(policies, Peer("slipway", pod), POD["s3"], 9000)
    for item in rendered("kind"):
        if item["kind"] == "Deployment":
            labels = item["spec"]["template"]["metadata"]["labels"]
            port = item["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]
            assert allowed(policies, POD["step"], Peer("slipway", labels), port), item["metadata"]["name"]
