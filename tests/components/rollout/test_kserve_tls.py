"""Model servers that listen with TLS in Standard mode: the gateway is told in time, also while plain ones serve."""

from types import SimpleNamespace
from typing import Any

import pytest

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.rollout.kserve import manifest, wait
from slipway.components.rollout.kserve.api import ServiceApi
from slipway.components.rollout.kserve.objects import OwnObject
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.target import Revision
from tests.components.rollout.conftest import MakeSite
from tests.components.rollout.kserve_cluster import NAME, NAMESPACE
from tests.components.rollout.kserve_http import RUNTIMES
from tests.components.rollout.kserve_site import FIRST, SECOND, THIRD, Site
from tests.components.rollout.test_kserve_fence import cut_off, expire

TLS, PLAIN = "slipway-bundle-tls", "slipway-bundle"


@pytest.fixture
def site(make_site: MakeSite) -> Site:
    """A cluster with a ServingRuntime that listens with TLS, which the settings name."""
    made: Site = make_site()
    made.cluster.tls |= {TLS, f"{TLS}-grpc"}
    made.settings = made.settings.model_copy(update={"runtime": TLS})
    return made


def use(site: Site, runtime: str) -> None:
    site.settings = site.settings.model_copy(update={"runtime": runtime})


def roll_out(site: Site, revision: Revision, percent: int = 50) -> KServeTarget:
    target = site.target
    target.deploy(revision)
    target.wait_ready(revision, 10.0)
    target.set_traffic(percent)
    site.until_answered(revision)
    return target


def targets(site: Site) -> list[str]:
    """The Services that the gateway is told to speak TLS to."""
    policy = site.cluster.policy()
    return [found["name"] for found in policy["spec"]["targetRefs"]] if policy else []


def test_the_gateway_is_told_of_the_services_the_name_and_the_authority(site: Site) -> None:
    site.serve(FIRST)
    policy = site.cluster.policy()
    assert (policy["apiVersion"], policy["kind"]) == ("gateway.networking.k8s.io/v1", "BackendTLSPolicy")
    assert policy["metadata"]["labels"] == {"app.kubernetes.io/part-of": "slipway"}
    assert policy["metadata"]["ownerReferences"] == [
        {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": NAME, "uid": f"of-{NAME}"}
    ]
    assert policy["spec"] == {
        "targetRefs": [{"group": "", "kind": "Service", "name": "messages-v1-predictor"}],
        "validation": {
            "hostname": "model-servers.slipway.svc",
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "slipway-ca"}],
        },
    }


def test_rollouts_with_tls_lose_no_request_and_pods_are_asked_with_tls(site: Site) -> None:
    site.serve(FIRST)
    with site.clients():
        roll_out(site, SECOND).rollback()
        assert targets(site) == ["messages-v1-predictor"]
        target = roll_out(site, THIRD)
        assert targets(site) == ["messages-v1-predictor", "messages-v3-predictor"]
        assert [pair.challenger for pair in target.compare(["late parcel"])] == ["billing"]
        target.promote()
    assert site.lost == {}
    assert targets(site) == ["messages-v3-predictor"]


def test_from_plain_to_tls_and_back_no_request_is_lost(site: Site) -> None:
    use(site, PLAIN)
    site.serve(FIRST)
    assert site.cluster.policy() is None
    use(site, TLS)
    with site.clients():
        target = roll_out(site, SECOND)
        assert targets(site) == ["messages-v2-predictor"]
        assert site.service()["spec"]["predictor"]["model"]["runtime"] == PLAIN  # it serves: its pods stay
        assert [pair.champion for pair in target.compare(["late parcel"])] == ["billing"]
        target.promote()
        use(site, PLAIN)
        target = roll_out(site, THIRD)
        assert targets(site) == ["messages-v2-predictor"]
        target.promote()
    assert site.lost == {}
    assert site.cluster.policy() is None
    assert site.service()["spec"]["predictor"]["model"]["runtime"] == PLAIN


def test_the_policy_of_a_promotion_that_was_cut_short_is_that_of_its_services(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.serve(FIRST)
    with site.clients():
        target = roll_out(site, SECOND)
        with monkeypatch.context() as patch:
            patch.setattr(wait.Waiting, "until_rolled_out", killed)
            with pytest.raises(KeyboardInterrupt):
                target.promote()
        again = site.target
        again.promote()
        roll_out(site, THIRD)
    assert site.lost == {}
    assert targets(site) == ["messages-v2-predictor", "messages-v3-predictor"]


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_cannot_be_told_to_the_gateway_is_not_deployed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.serve(FIRST)

    apply = OwnObject.apply

    def refused(self: OwnObject, *given: Any) -> Any:
        if self.kind.plural == "backendtlspolicies":
            raise BadInput("the cluster does not let us change backendtlspolicies")
        return apply(self, *given)

    monkeypatch.setattr(OwnObject, "apply", refused)
    before = len(site.cluster.applied)
    with pytest.raises(BadInput, match="backendtlspolicies"):
        site.target.deploy(SECOND)
    assert len(site.cluster.applied) == before


def test_a_driver_whose_lock_was_taken_changes_no_policy_any_more(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.serve(FIRST)
    old, new = site.target, site.target
    with old.lock():
        old.save_state({"driver": "old"})
        cut_off(old, monkeypatch)
        expire(site)
        with new.lock():
            before = site.cluster.policy()
            with pytest.raises(SlipwayError, match="another rollout has taken models/messages over"):
                old._tls.prepare(manifest_of(old, SECOND), old.api.read())
            assert site.cluster.policy() == before
            new.deploy(SECOND)
            assert targets(site) == ["messages-v1-predictor", "messages-v2-predictor"]


def manifest_of(target: KServeTarget, revision: Revision) -> dict[str, Any]:
    """The service with a revision alone."""
    current = target.record()
    current.champion = revision
    return manifest.service(NAME, NAMESPACE, current, "Standard", target.settings)


def test_grpc_has_a_runtime_of_its_own_and_the_same_policy(site: Site) -> None:
    site.settings = site.settings.model_copy(update={"protocol": "grpc"})
    target = site.target
    target.deploy(FIRST)
    assert site.service()["spec"]["predictor"]["model"]["runtime"] == f"{TLS}-grpc"
    assert targets(site) == ["messages-v1-predictor"]


def test_revisions_with_different_names_in_their_certificates_are_refused(site: Site) -> None:
    site.serve(FIRST)
    other = {"slipway.dev/tls-host": "others.slipway.svc", "slipway.dev/tls-authority": "slipway-ca"}
    site.cluster.objects[f"{RUNTIMES}other"] = {"metadata": {"name": "other", "annotations": other}}
    use(site, "other")
    with pytest.raises(BadInput, match=r"certificates for model-servers.slipway.svc .* and others.slipway.svc"):
        site.target.deploy(SECOND)


def test_in_knative_mode_a_runtime_with_tls_is_refused_with_both_ways_out(site: Site) -> None:
    site.settings = site.settings.model_copy(update={"deployment_mode": "Knative"})
    with pytest.raises(BadInput, match=r"slipway-bundle-tls .*manifests/tls/knative.*cluster.deployment_mode=Standard"):
        site.target.deploy(FIRST)
    assert site.cluster.service is None


def test_a_runtime_that_says_half_is_refused(site: Site) -> None:
    half = {"metadata": {"name": "half", "annotations": {"slipway.dev/tls-host": "x"}}}
    site.cluster.objects[f"{RUNTIMES}half"] = half
    use(site, "half")
    with pytest.raises(BadInput, match="has one of the annotations"):
        site.target.deploy(FIRST)


@pytest.mark.parametrize(("scheme", "before"), [("HTTPS", "https:"), ("HTTP", ""), (None, "")])
@pytest.mark.parametrize("port", [8080, 8082])
def test_a_pod_is_asked_as_it_listens(
    site: Site, monkeypatch: pytest.MonkeyPatch, scheme: str | None, before: str, port: int
) -> None:
    asked = []

    def call(path: str, *_: Any, **__: Any) -> Any:
        asked.append(path)
        return [SimpleNamespace(status=200, data=b"")]

    assert site.settings.runtime == TLS
    api = ServiceApi(NAMESPACE, NAME)
    monkeypatch.setattr(api.connection, "call_api", call)
    probe = SimpleNamespace(http_get=SimpleNamespace(scheme=scheme))
    containers = [SimpleNamespace(name="kserve-container", readiness_probe=probe)]
    pod = SimpleNamespace(metadata=SimpleNamespace(name="p"), spec=SimpleNamespace(containers=containers))
    api.ask_pod(pod, "/metrics", port=port)
    assert asked == [f"/api/v1/namespaces/{NAMESPACE}/pods/{before}p:{port}/proxy/metrics"]
