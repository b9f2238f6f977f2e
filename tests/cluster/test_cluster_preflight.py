"""What a run on Kubernetes is told about a real cluster before any step starts."""

from pathlib import Path

import pytest

from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.execution_target import resolve
from slipway.components.register.settings import RegistrySettings
from slipway.pipelines.cluster_preflight import check_cluster
from tests.cluster.conftest import Platform

pytestmark = pytest.mark.cluster


API_KEYS = (("secret generic", "slipway-api-keys", "api-keys.json"),)


@pytest.fixture
def ready(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> ClusterSettings:
    """Settings for the namespace of the manifests, which has all that a run needs."""
    monkeypatch.setenv("KUBECONFIG", platform.cluster.kubeconfig)
    for kind, name, key in (("configmap", "slipway-public-key", "public.pem"), *API_KEYS):
        place = (name, "--namespace", platform.namespace)
        if not platform.cluster.kubectl("get", kind.split()[0], *place, "--ignore-not-found"):
            platform.cluster.kubectl("create", *kind.split(), *place, f"--from-literal={key}=none")
    return ClusterSettings(namespace=platform.namespace, image=platform.cluster.image)


def test_a_cluster_with_the_manifests_is_accepted(ready: ClusterSettings) -> None:
    assert resolve("kubernetes") == "kubernetes"
    check_cluster(ready)


def test_the_rights_of_the_pipeline_s_account_are_enough(
    platform: Platform, ready: ClusterSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", platform.cluster.as_account("slipway-pipeline", platform.namespace, tmp_path))
    check_cluster(ready, RegistrySettings(keys=f"job:{platform.namespace}"))


def test_a_gateway_that_does_not_answer_is_told_before_the_run(
    platform: Platform, ready: ClusterSettings, gateway: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", platform.cluster.as_account("slipway-pipeline", platform.namespace, tmp_path))
    check_cluster(ready.model_copy(update={"gateway": gateway}), model_name="not-there")
    with pytest.raises(BadInput, match="no ingress gateway answers at http://127.0.0.1:9 .*set cluster.gateway"):
        check_cluster(ready.model_copy(update={"gateway": "http://127.0.0.1:9"}), model_name="not-there")


def test_an_account_without_rights_is_told_the_first_that_is_missing(
    platform: Platform, ready: ClusterSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", platform.cluster.as_account("slipway-trainer", platform.namespace, tmp_path))
    with pytest.raises(BadInput, match="does not let us create pytorchjobs in namespace"):
        check_cluster(ready)


def test_encrypted_bundles_need_their_key_in_the_cluster(ready: ClusterSettings) -> None:
    with pytest.raises(BadInput, match="no Secret slipway-encryption"):
        check_cluster(ready, RegistrySettings(encryption_key="kms:"))


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("namespace", "namespace absent does not exist"),
        ("secret", "no Secret absent in namespace"),
        ("service_account", "no service account absent"),
        ("server_account", "no service account absent"),
        ("runtime", "no ServingRuntime absent"),
    ],
)
def test_what_is_absent_is_named(ready: ClusterSettings, field: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        check_cluster(ready.model_copy(update={field: "absent"}))


def test_a_missing_secret_of_model_servers_is_named(platform: Platform, ready: ClusterSettings) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "secrets": [{"name": "absent"}]}
    metadata = {"name": "another-server", "namespace": platform.namespace}
    platform.cluster.apply(account | {"metadata": metadata})
    with pytest.raises(BadInput, match="no Secret absent in namespace .* with which another-server reads bundles"):
        check_cluster(ready.model_copy(update={"server_account": "another-server"}))
