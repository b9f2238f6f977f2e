"""TLS at the gateways and within the cluster: each refers to the certificate that is made for it, where it looks."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve.api import PORT
from slipway.components.rollout.kserve.backend_tls import Tls, of_runtime
from slipway.pipelines.cluster_settings import IN_CLUSTER

MANIFESTS = Path(__file__).parents[2] / "manifests"
Objects = dict[tuple[str, str], dict[str, Any]]
"""Objects of a kustomization, by kind and name."""
pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def rendered(gateway: str) -> Objects:
    """The objects of a gateway's folder, by kind and name."""
    return objects_of(MANIFESTS / "tls" / gateway)


def objects_of(folder: Path) -> Objects:
    """The objects of a kustomization, by kind and name."""
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    objects = yaml.safe_load_all(done.stdout)
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


@pytest.mark.parametrize(("gateway", "namespace"), [("kourier", "kourier-system"), ("envoy-gateway", "kserve")])
def test_the_certificate_is_in_the_namespace_of_the_gateway_and_its_issuers_are_too(
    gateway: str, namespace: str
) -> None:
    made = rendered(gateway)
    issued = {name: item for (kind, name), item in made.items() if kind == "Certificate"}
    assert set(issued) == {"slipway-authority", "slipway-gateway"}
    for certificate in issued.values():
        issuer = made["Issuer", certificate["spec"]["issuerRef"]["name"]]
        assert certificate["metadata"]["namespace"] == issuer["metadata"]["namespace"] == namespace
    assert made["Issuer", "slipway-authority"]["spec"]["ca"]["secretName"] == "slipway-authority"
    assert not issued["slipway-gateway"]["spec"].get("isCA", False)


def test_kourier_is_told_of_the_certificate() -> None:
    made = rendered("kourier")
    certificate, told = made["Certificate", "slipway-gateway"], made["ConfigMap", "config-kourier"]
    assert told["metadata"]["namespace"] == "knative-serving"
    assert told["data"] == {
        "certs-secret-namespace": certificate["metadata"]["namespace"],
        "certs-secret-name": certificate["spec"]["secretName"],
    }


def test_envoy_gateway_gets_a_second_listener_with_the_certificate() -> None:
    made = rendered("envoy-gateway")
    (added,) = [item for (kind, _), item in made.items() if kind == "Gateway"]
    text = (MANIFESTS / "gateway.yaml").read_text("utf-8")
    (there,) = [item for item in yaml.safe_load_all(text) if item["kind"] == "Gateway"]
    assert added["metadata"]["name"] == there["metadata"]["name"]
    assert added["metadata"]["namespace"] == there["metadata"]["namespace"]
    assert added["spec"]["gatewayClassName"] == there["spec"]["gatewayClassName"]
    (listener,) = added["spec"]["listeners"]
    assert (listener["name"], listener["port"]) not in [
        (one["name"], one["port"]) for one in there["spec"]["listeners"]
    ]
    (certificate,) = listener["tls"]["certificateRefs"]
    assert certificate == {"name": made["Certificate", "slipway-gateway"]["spec"]["secretName"]}


@pytest.fixture(scope="module")
def plain() -> Objects:
    """The overlay kubeflow, as it is."""
    return objects_of(MANIFESTS / "overlays" / "kubeflow")


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """The same with TLS within the cluster."""
    return with_components(tmp_path_factory.mktemp("inside"), "tls/inside")


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """The same, and with TLS from the gateway of Standard mode to model servers."""
    return with_components(tmp_path_factory.mktemp("standard"), "tls/inside", "tls/standard")


def with_components(folder: Path, *components: str) -> Objects:
    """The objects of the overlay kubeflow with components."""
    places = {"resources": ["overlays/kubeflow"], "components": components}
    given = {kind: [os.path.relpath(MANIFESTS / one, folder) for one in all_] for kind, all_ in places.items()}
    (folder / "kustomization.yaml").write_text(json.dumps(given))
    return objects_of(folder)


def test_tls_within_the_cluster_adds_certificates_and_changes_the_two_servers_alone(
    plain: Objects, inside: Objects
) -> None:
    assert {name for name, item in plain.items() if inside[name] != item} == {
        ("Deployment", "s3"),
        ("Deployment", "mlflow"),
    }
    assert {kind for kind, _ in inside.keys() - plain.keys()} == {"Issuer", "Certificate"}
    namespaces = {inside[name]["metadata"]["namespace"] for name in inside.keys() - plain.keys()}
    assert namespaces == {plain["Deployment", "s3"]["metadata"]["namespace"]}


@pytest.mark.parametrize(
    ("server", "address"), [("s3", "https://s3.slipway.svc.cluster.local:9000"), ("mlflow", IN_CLUSTER)]
)
def test_each_server_has_a_certificate_for_its_address_by_the_authority_inside(
    server: str, address: str, inside: Objects
) -> None:
    certificate = inside["Certificate", server]["spec"]
    assert urlsplit(address).hostname in certificate["dnsNames"]
    assert certificate["ipAddresses"] == ["127.0.0.1"]
    assert not certificate.get("isCA", False)
    authority = inside["Issuer", certificate["issuerRef"]["name"]]["spec"]["ca"]["secretName"]
    (signer,) = [item for (kind, _), item in inside.items() if kind == "Certificate" and item["spec"].get("isCA")]
    assert signer["spec"]["secretName"] == authority

    pod = inside["Deployment", server]["spec"]["template"]["spec"]
    mounted = {volume["secret"]["secretName"] for volume in pod["volumes"] if "tls" in volume["name"]}
    assert mounted == {certificate["secretName"]}
    keys = [item for container in pod["containers"] for item in container["env"] if item.get("value") == "/tls/tls.key"]
    assert len(keys) == 1


def test_the_authoritys_key_is_in_no_pod_and_what_makes_users_has_no_key_at_all(inside: Objects) -> None:
    authority = inside["Certificate", "slipway-inside"]["spec"]["secretName"]
    assert not [name for name, item in inside.items() if name[0] != "Issuer" and f'"{authority}"' in pods_of(item)]
    pod = inside["Deployment", "s3"]["spec"]["template"]["spec"]
    (users,) = [container for container in pod["containers"] if container["name"] == "users"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == "authority"]
    assert "tls" not in {mount["name"] for mount in users["volumeMounts"]}
    assert [item["key"] for item in volume["secret"]["items"]] == ["ca.crt"]


def pods_of(item: dict[str, Any]) -> str:
    """What is said of an object's pods, as text."""
    return json.dumps(item["spec"]["template"]) if "template" in item.get("spec", {}) else ""


def test_the_kubelet_asks_mlflow_with_tls(inside: Objects) -> None:
    (container,) = inside["Deployment", "mlflow"]["spec"]["template"]["spec"]["containers"]
    probes = [container[name]["httpGet"] for name in ("startupProbe", "readinessProbe", "livenessProbe")]
    assert [(probe["scheme"], probe["path"], probe["port"]) for probe in probes] == [("HTTPS", "/health", "http")] * 3


PROTOCOLS = ("rest", "grpc")


def runtime_of(objects: Any, protocol: str, name: str) -> Any:
    """The ServingRuntime that a setting of cluster.runtime means."""
    settings = ClusterSettings.model_validate({"runtime": name, "protocol": protocol})
    return objects["ServingRuntime", settings.serving_runtime]


def test_tls_to_model_servers_adds_a_certificate_and_runtimes_and_leaves_those_that_serve(
    inside: Objects, standard: Objects
) -> None:
    assert {name for name, item in inside.items() if standard[name] != item} == {("ConfigMap", "slipway-serving")}
    added = {name: standard[name] for name in standard.keys() - inside.keys()}
    assert sorted(kind for kind, _ in added) == ["Certificate", "ServingRuntime", "ServingRuntime"]
    assert {item["metadata"]["namespace"] for item in added.values()} == {"slipway"}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_runtime_with_tls_is_the_other_one_with_a_certificate_that_is_watched_and_https_probes(
    protocol: str, standard: Objects
) -> None:
    runtime, other = (runtime_of(standard, protocol, f"slipway-bundle{suffix}") for suffix in ("-tls", ""))
    (container,), (plain,) = runtime["spec"]["containers"], other["spec"]["containers"]
    options = {word.partition("=")[0]: word.partition("=")[2] for word in container["args"][len(plain["args"]) :]}
    mounts = [mount for mount in container["volumeMounts"] if mount not in plain["volumeMounts"]]
    (volume,) = [volume for volume in runtime["spec"]["volumes"] if volume not in other["spec"]["volumes"]]
    secret = standard["Certificate", "model-servers"]["spec"]["secretName"]
    assert volume == {"name": "tls", "secret": {"secretName": secret}}  # the whole of it: a part would stay as it is
    assert mounts == [{"name": "tls", "mountPath": "/etc/slipway/tls", "readOnly": True}]
    assert options == {"--tls_cert": "/etc/slipway/tls/tls.crt", "--tls_key": "/etc/slipway/tls/tls.key"}
    for probe in ("readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked == plain[probe]["httpGet"] | {"scheme": "HTTPS"}
        assert asked["port"] == PORT
    same = ("image", "ports", "env", "resources", "securityContext", "command")
    assert {key: container[key] for key in same} == {key: plain[key] for key in same}
    assert container["args"][: len(plain["args"])] == plain["args"]
    # the metrics are where they were, with TLS, too
    assert runtime["spec"]["annotations"] == other["spec"]["annotations"] | {"prometheus.io/scheme": "https"}
    assert runtime["spec"]["protocolVersions"] == other["spec"]["protocolVersions"]
    assert not runtime["spec"]["supportedModelFormats"][0]["autoSelect"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_name_that_gateways_are_told_is_in_the_certificate_and_of_nothing_else(
    protocol: str, standard: Objects
) -> None:
    told = of_runtime(runtime_of(standard, protocol, "slipway-bundle-tls"), "Standard")
    assert told is not None
    certificate = standard["Certificate", "model-servers"]["spec"]
    assert certificate["dnsNames"] == [told.host]
    assert not certificate.get("isCA", False)
    assert told.host not in {f"{name}.slipway.svc" for kind, name in standard if kind in ("Service", "Deployment")}
    assert certificate["issuerRef"] == standard["Certificate", "s3"]["spec"]["issuerRef"]  # of which slipway-ca tells
    assert f"create configmap {told.authority} " in (MANIFESTS / "install.sh").read_text("utf-8")
    assert of_runtime(runtime_of(standard, protocol, "slipway-bundle"), "Standard") is None


def test_the_policies_admit_to_steps_what_the_runtimes_say(plain: Objects, standard: Objects) -> None:
    admitted = standard["ConfigMap", "slipway-serving"]["data"]
    runtimes = {name: item for (kind, name), item in standard.items() if kind == "ServingRuntime"}
    assert set(admitted["runtimes"].split()) == set(runtimes)
    tls = {of_runtime(item, "Standard") for item in runtimes.values()} - {None}
    assert tls == {Tls(admitted["tlsHost"], admitted["tlsAuthority"])}
    assert "tlsHost" not in plain["ConfigMap", "slipway-serving"]["data"]


def test_knative_gets_the_certificates_of_its_own_servers_from_an_authority_that_is_there() -> None:
    made = rendered("knative")
    assert made["ConfigMap", "config-network"]["data"] == {"system-internal-tls": "Enabled"}
    told = yaml.safe_load(made["ConfigMap", "config-certmanager"]["data"]["systemInternalIssuerRef"])
    issuer = made[told["kind"], told["name"]]
    (authority,) = [item for (kind, _), item in made.items() if kind == "Certificate"]
    assert authority["spec"]["isCA"]
    assert authority["spec"]["secretName"] == issuer["spec"]["ca"]["secretName"]
    assert authority["metadata"]["namespace"] == "cert-manager"  # where issuers of the whole cluster look
    signer = authority["spec"]["issuerRef"]
    assert made[signer["kind"], signer["name"]]["spec"] == {"selfSigned": {}}
