"""TLS at the gateways: each refers to the certificate that is made for it, where it looks for it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def rendered(gateway: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of a gateway's folder, by kind and name."""
    command = ["kubectl", "kustomize", MANIFESTS / "tls" / gateway]
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
