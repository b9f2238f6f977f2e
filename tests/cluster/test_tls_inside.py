"""TLS within the cluster on a real API server: what install.sh makes of certificates, and what KServe makes of that."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.authority import Authority
from tests.cluster.access import Cluster
from tests.cluster.conftest import kustomization
from tests.cluster.kit import ROOT

pytestmark = pytest.mark.cluster

TLS = ROOT / "manifests" / "tls"


def test_the_api_server_accepts_the_servers_with_tls(cluster: Cluster, own_namespace: str, tmp_path: Path) -> None:
    folder = kustomization(cluster, tmp_path, own_namespace)
    given = json.loads((folder / "kustomization.yaml").read_text("utf-8"))
    given["components"] = [os.path.relpath(TLS / "inside", folder)]
    (folder / "kustomization.yaml").write_text(json.dumps(given), "utf-8")
    objects = list(yaml.safe_load_all(cluster.kubectl("kustomize", str(folder))))
    own = [item for item in objects if item["metadata"]["name"] in ("s3", "mlflow") and item["kind"] != "Certificate"]
    said = cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", given=yaml.safe_dump_all(own))
    assert said.count("serverside-applied") == len(own) == 7


def test_knative_accepts_its_configuration_for_tls_between_its_servers(cluster: Cluster) -> None:
    said = cluster.kubectl(
        "apply",
        "--server-side",
        "--dry-run=server",
        "--field-manager=slipway-tls",
        "-f",
        str(TLS / "knative" / "config.yaml"),
    )
    assert said.count("serverside-applied") == 2


def test_kserve_fetches_bundles_by_tls_with_the_authority_that_install_uploads(
    cluster: Cluster, own_namespace: str, tmp_path: Path
) -> None:
    signer = Authority(tmp_path, "inside")
    certificate, key = signer.issue("s3")
    files = [f"--from-file={name}={path}" for name, path in (("tls.crt", certificate), ("tls.key", key))]
    files.append(f"--from-file=ca.crt={signer.path}")
    cluster.kubectl("create", "secret", "generic", "slipway-s3-tls", "--namespace", own_namespace, *files)
    names = {"SLIPWAY_NAMESPACE": own_namespace, "SLIPWAY_STEPS_NAMESPACE": f"{own_namespace}-none"}
    environment = os.environ | names | {"KUBECONFIG": cluster.kubeconfig, "SLIPWAY_KEYS": str(tmp_path / "keys")}
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        environment.pop(name, None)
    install = [str(ROOT / "manifests" / "install.sh"), "secrets"]
    subprocess.run(install, env=environment, check=True, capture_output=True, text=True)

    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "server", "namespace": own_namespace},
        "secrets": [{"name": "slipway-s3-servers"}],
    }
    cluster.apply(account)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "asked",
            "namespace": own_namespace,
            "labels": {"serving.kserve.io/inferenceservice": "asked"},
            "annotations": {"internal.serving.kserve.io/storage-initializer-sourceuri": "s3://slipway/bundles/1"},
        },
        "spec": {"serviceAccountName": "server", "containers": [{"name": "kserve-container", "image": cluster.image}]},
    }
    made = json.loads(cluster.kubectl("create", "--dry-run=server", "--output=json", "-f", "-", given=json.dumps(pod)))[
        "spec"
    ]
    (initializer,) = made["initContainers"]
    values = {item["name"]: item.get("value") for item in initializer["env"]}
    assert values["AWS_ENDPOINT_URL"] == f"https://s3.{own_namespace}.svc.cluster.local:9000"
    mounts = {mount["mountPath"]: mount["name"] for mount in initializer["volumeMounts"]}
    (volume,) = [it for it in made["volumes"] if it["name"] == mounts[values["CA_BUNDLE_VOLUME_MOUNT_POINT"] or ""]]
    name = volume["configMap"]["name"]
    kept = json.loads(cluster.kubectl("get", "configmap", name, "--namespace", own_namespace, "--output=json"))
    assert kept["data"] == dict.fromkeys(("cabundle.crt", "ca.crt"), signer.path.read_text("utf-8").strip())
