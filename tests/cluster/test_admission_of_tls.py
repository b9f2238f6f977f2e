"""What steps may tell a gateway about TLS to model servers: manifests/base/admission/backend-tls.yaml."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.components.errors import BadInput
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.backend_tls import Tls, policy
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.target import Revision
from slipway.pipelines.cluster_preflight import _check_runtime
from tests.background import eventually
from tests.cluster import backend_tls
from tests.cluster.kit import ROOT
from tests.cluster.step_account import DIGEST, Steps, changed

pytestmark = pytest.mark.cluster
COMPONENT = ROOT / "manifests" / "tls" / "standard"


@pytest.fixture(scope="module")
def told(steps: Steps) -> Iterator[Steps]:
    """The namespace of the steps with the component's part of the ConfigMap, and a cluster that knows the kind."""
    admitted = yaml.safe_load((COMPONENT / "admitted.yaml").read_text("utf-8"))["data"]
    patch = json.dumps({"data": admitted})
    where = ("--namespace", steps.namespace, "--type=merge", "--patch", patch)
    with backend_tls.known(steps.cluster):
        steps.cluster.kubectl("patch", "configmap", "slipway-serving", *where)
        eventually(lambda: steps.create(made(steps)) == "")
        eventually(lambda: "slipway-backend-tls" in steps.create(changed(made(steps), lambda it: it.pop("spec"))))
        yield steps


def made(steps: Steps) -> dict[str, Any]:
    """A policy as the step rollout makes it."""
    owner = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    owned = owner | {"metadata": {"name": "messages", "uid": "5f2c7d0e-8a41-4c1b-9a55-2f0d3f1f7a10"}}
    backends = ["messages-v1-predictor", "messages-v22-predictor"]
    return policy("messages", steps.namespace, backends, Tls("model-servers.slipway.svc", "slipway-ca"), owned)


def test_what_a_rollout_tells_is_admitted_and_may_be_changed_and_removed(told: Steps) -> None:
    whole = made(told)
    fewer = changed(whole, lambda it: it["spec"]["targetRefs"].pop())
    fewer["metadata"] |= {"annotations": {"slipway.dev/rollout-holder": "7 pod/1/abcd"}}

    def removed() -> bool:
        assert told.apply(whole, kept=True) == ""
        assert told.apply(fewer, kept=True) == ""
        said = told.remove(whole, kept=True)
        assert said == "" or "not found" in said
        return not said

    eventually(removed)  # its owner does not exist, so that the cluster's garbage collector may remove it before we do


def refs(it: Any) -> Any:
    return it["spec"]["targetRefs"]


ATTACKS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another's service": (lambda it: refs(it)[0].update(name="mlflow"), "for the Services of the InferenceService"),
    "a longer name": (
        lambda it: refs(it)[0].update(name="messages-v1-predictor-x"),
        "for the Services of the InferenceService",
    ),
    "of another model": (
        lambda it: refs(it)[0].update(name="messages-very-v1-predictor"),
        "for the Services of the InferenceService",
    ),
    "no service": (
        lambda it: refs(it)[0].update(kind="Backend", group="gateway.envoyproxy.io"),
        "for the Services of the InferenceService",
    ),
    "a port of it": (lambda it: refs(it)[0].update(sectionName="8081"), "for the Services of the InferenceService"),
    "another name": (
        lambda it: it["spec"]["validation"].update(hostname="s3.slipway.svc"),
        "by the name model-servers.slipway.svc and the ConfigMap slipway-ca",
    ),
    "no name": (lambda it: it["spec"]["validation"].pop("hostname"), "by the name model-servers.slipway.svc"),
    "another authority": (
        lambda it: it["spec"]["validation"]["caCertificateRefs"][0].update(name="mine"),
        "and the ConfigMap slipway-ca",
    ),
    "one more authority": (
        lambda it: it["spec"]["validation"]["caCertificateRefs"].append(
            {"group": "", "kind": "ConfigMap", "name": "mine"}
        ),
        "and the ConfigMap slipway-ca",
    ),
    "a secret": (
        lambda it: it["spec"]["validation"]["caCertificateRefs"][0].update(kind="Secret"),
        "and the ConfigMap slipway-ca",
    ),
    "every public authority": (
        lambda it: it["spec"]["validation"].update(wellKnownCACertificates="System"),
        "in validation, hostname and caCertificateRefs alone",
    ),
    "other names, too": (
        lambda it: it["spec"]["validation"].update(subjectAltNames=[{"type": "Hostname", "hostname": "x.example.com"}]),
        "in validation, hostname and caCertificateRefs alone",
    ),
    "options": (lambda it: it["spec"].update(options={"x": "y"}), "sets targetRefs and"),
    "without label": (lambda it: it["metadata"].pop("labels"), "of Slipway alone"),
    "another label": (lambda it: it["metadata"]["labels"].update({"x": "y"}), "and no others"),
    "another annotation": (lambda it: it["metadata"].update(annotations={"x": "y"}), "and no others"),
    "never removed": (lambda it: it["metadata"].update(finalizers=["example.com/x"]), "has no finalizers"),
    "goes with another": (
        lambda it: it["metadata"]["ownerReferences"][0].update(name="others"),
        "goes with the InferenceService of its name",
    ),
    "goes with another kind": (
        lambda it: it["metadata"]["ownerReferences"][0].update(apiVersion="v1", kind="ConfigMap"),
        "goes with the InferenceService of its name",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_step_tells_the_gateway_nothing_else(told: Steps, attack: str) -> None:
    change, words = ATTACKS[attack]
    said = told.create(changed(made(told), change))
    assert "slipway-backend-tls" in said
    assert words in said


def test_a_policy_of_others_is_neither_changed_nor_removed(told: Steps) -> None:
    theirs = changed(made(told), lambda it: it["metadata"].update(name="theirs", labels={}, ownerReferences=[]))
    told.cluster.apply(theirs)
    try:
        mine = changed(made(told), lambda it: it["metadata"].update(name="theirs", ownerReferences=[]))
        assert "of Slipway alone" in told.apply(mine)
        assert "of Slipway alone" in told.remove(theirs)
    finally:
        told.cluster.kubectl("delete", "backendtlspolicy", "theirs", "--namespace", told.namespace)


@pytest.fixture
def settings(told: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterSettings]:
    """A step's, in a namespace with the runtimes of the component; KUBECONFIG has the rights of the steps' account."""
    made = told.cluster.kubectl("kustomize", str(COMPONENT / "runtime"))
    runtime = yaml.safe_load(made)
    runtime["metadata"]["namespace"] = told.namespace
    told.cluster.apply(runtime)
    monkeypatch.setenv("KUBECONFIG", told.cluster.as_account("slipway-pipeline", told.namespace, tmp_path))
    yield ClusterSettings(namespace=told.namespace, runtime="slipway-bundle-tls", deployment_mode="Standard")
    told.cluster.kubectl("delete", "inferenceservice", "--all", "--namespace", told.namespace)
    told.cluster.kubectl("delete", "backendtlspolicy", "--all", "--namespace", told.namespace)


def test_the_preflight_asks_for_the_authority_and_whether_the_gateway_may_be_told(
    told: Steps, settings: ClusterSettings
) -> None:
    api = ServiceApi(told.namespace, "messages")
    with pytest.raises(BadInput, match="no ConfigMap slipway-ca in namespace"):
        _check_runtime(api, settings)
    place = ("configmap", "slipway-ca", "--namespace", told.namespace)
    told.cluster.kubectl("create", *place, "--from-literal=ca.crt=none")
    try:
        _check_runtime(api, settings)
        with pytest.raises(BadInput, match="cluster.deployment_mode=Standard"):
            _check_runtime(api, settings.model_copy(update={"deployment_mode": "Knative"}))
    finally:
        told.cluster.kubectl("delete", *place)


def test_a_rollout_makes_its_policy_with_the_rights_of_the_steps_and_it_goes_with_the_service(
    told: Steps, settings: ClusterSettings
) -> None:
    target = KServeTarget("messages", settings)
    revision = Revision("1", "s3://slipway/bundles/1", DIGEST)
    with target.lock():
        target.deploy(revision)
        target.save_state({"phase": "canary"})
    with target.lock():  # the policy has the next holder's token, too
        place = ("backendtlspolicy", "messages", "--namespace", told.namespace)
        found = told.cluster.read(*place)
        service = told.cluster.read("inferenceservice", "messages", "--namespace", told.namespace)
        assert found["metadata"]["annotations"] == {
            key: value for key, value in service["metadata"]["annotations"].items() if key.endswith("rollout-holder")
        }
        assert [owner["uid"] for owner in found["metadata"]["ownerReferences"]] == [service["metadata"]["uid"]]
        assert [ref["name"] for ref in refs(found)] == ["messages-v1-predictor"]
        target._fence.delete()
    eventually(lambda: not told.cluster.kubectl("get", *place, "--ignore-not-found"))
