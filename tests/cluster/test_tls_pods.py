"""A model server of the runtime that listens with TLS in a real cluster: the kubelet and a rollout ask it so."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.components.artifacts import signing
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.manifest import VERSION_LABEL
from slipway.components.rollout.kserve.pod_counters import _metrics_port
from tests.authority import Authority
from tests.background import eventually
from tests.cluster.kit import ROOT
from tests.cluster.step_account import Steps

pytestmark = pytest.mark.cluster
RUNTIME = ROOT / "manifests" / "tls" / "standard" / "runtime"
NAME = "messages"


@pytest.fixture
def pod(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The pod, which has no bundle, and is ready when it listens. KUBECONFIG has the rights of the steps."""
    certificate, key = Authority(tmp_path, "inside").issue("server", "model-servers.slipway.svc")
    files = {
        "slipway-serving-tls": {"tls.crt": certificate.read_text(), "tls.key": key.read_text()},
        "slipway-api-keys": {"api-keys.json": json.dumps({"keys": []})},
        "slipway-audit": {"audit.key": "a key of the tests, long enough"},
    }
    place = {"namespace": steps.namespace}
    made = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": place | {"name": name},
            "data": {file: base64.b64encode(text.encode()).decode() for file, text in data.items()},
        }
        for name, data in files.items()
    ]
    keys = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": place | {"name": "slipway-public-key"}}
    pair = signing.key_pair(tmp_path / "keys")
    steps.cluster.apply(*made, keys | {"data": {"public.pem": pair.public_key.read_text()}}, pod_of(steps))
    monkeypatch.setenv("KUBECONFIG", steps.cluster.as_account("slipway-pipeline", steps.namespace, tmp_path))
    api = ServiceApi(steps.namespace, NAME)
    try:
        eventually(lambda: ready(api))
        yield api.pods("1")[0]
    finally:
        where = ("--namespace", steps.namespace)
        steps.cluster.kubectl("delete", "pod", f"{NAME}-v1-predictor-1", *where, "--wait=false")


def pod_of(steps: Steps) -> dict[str, Any]:
    """A pod as KServe makes it of the runtime, with another question of the kubelet, since there is no model."""
    runtime = yaml.safe_load(steps.cluster.kubectl("kustomize", str(RUNTIME)).replace("{{.Name}}", NAME))["spec"]
    (container,) = runtime["containers"]
    container["image"] = steps.cluster.serving_image
    container["readinessProbe"]["httpGet"]["path"] = "/v2/health/live"
    container["volumeMounts"].append({"name": "models", "mountPath": "/mnt/models"})
    volumes = [*runtime["volumes"], {"name": "models", "emptyDir": {}}]
    labels = {"serving.kserve.io/inferenceservice": NAME, VERSION_LABEL: "1"}
    metadata = {"name": f"{NAME}-v1-predictor-1", "namespace": steps.namespace, "labels": labels}
    spec = {"containers": [container], "volumes": volumes, "serviceAccountName": "slipway-server"}
    metadata |= {"annotations": runtime["annotations"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def ready(api: ServiceApi) -> bool:
    conditions = [found for pod in api.pods("1") for found in pod.status.conditions or []]
    return any(found.type == "Ready" and found.status == "True" for found in conditions)


def test_the_kubelet_asks_with_tls_and_the_rollout_asks_through_the_api_server(steps: Steps, pod: Any) -> None:
    api = ServiceApi(steps.namespace, NAME)
    assert pod.spec.containers[0].readiness_probe.http_get.scheme == "HTTPS"
    status, body = api.ask_pod(pod, f"/v2/models/{NAME}/ready")
    assert (status, b"BundleRefused" in body) == (503, True), body
    status, body = api.ask_pod(pod, "/metrics", port=_metrics_port(pod))
    assert status == 200, body
    assert b"slipway" in body

    pod.spec.containers[0].readiness_probe.http_get.scheme = "HTTP"  # asked without TLS it does not answer
    status, body = api.ask_pod(pod, f"/v2/models/{NAME}/ready")
    assert b"BundleRefused" not in body
    assert api.ask_pod(pod, "/metrics", port=_metrics_port(pod))[0] != 200
