"""Rollouts to a real KServe on Knative, with clients that ask through the gateway without pause."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.artifacts.signing import KeyPair, key_pair
from slipway.components.clients import api_keys
from slipway.components.clients.grpc_client import GrpcClient
from slipway.components.errors import SlipwayError
from slipway.components.platforms import storage
from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.platforms.model_registry import Version
from slipway.components.rollout.kserve import pod_counters, readiness
from slipway.components.rollout.kserve.cancelled import take_back
from slipway.components.rollout.kserve.endpoint import Endpoint, credentials
from slipway.components.rollout.kserve.model import ClusterModel, revision_of
from slipway.components.rollout.kserve.target import KServeTarget
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Revision
from tests import prometheus
from tests.cluster.conftest import Platform
from tests.cluster.serving import QUICK, Model, Serving
from tests.local import bad_bundles

pytestmark = pytest.mark.cluster

TRIGGER = "zebra"
"""Word on which the bundle `raising` fails; clients know it, the labelled texts do not."""


@pytest.fixture(scope="module")
def bundles(draft_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, KeyPair]:
    """Signed bundles: three good ones that differ, and bad ones."""
    folder = tmp_path_factory.mktemp("bundles")
    keys = key_pair(folder / "keys")
    for name in ("first", "second", "third"):
        bad_bundles.signed_copy(draft_bundle, folder / name, keys.private_key, name)
    bad_bundles.shuffled_labels(draft_bundle, folder / "shuffled", keys.private_key)
    bad_bundles.raising(draft_bundle, folder / "raising", keys.private_key, TRIGGER)
    bad_bundles.tampered(draft_bundle, folder / "tampered", keys.private_key)
    return folder, keys


@pytest.fixture(scope="module")
def serving(
    platform: Platform,
    gateway: str,
    bundles: tuple[Path, KeyPair],
    small_dataset: TextDataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Serving]:
    """The namespace's keys, and the bundles in its S3 server."""
    folder, keys = bundles
    key_file = tmp_path_factory.mktemp("api-keys") / "api-keys.json"
    _, key = api_keys.add(key_file, "rollout", [api_keys.Scope.PREDICT, api_keys.Scope.ROLLOUT])
    platform.cluster.apply(
        _object("ConfigMap", "slipway-public-key", platform.namespace, {"public.pem": keys.public_key.read_text()}),
        _object("Secret", "slipway-api-keys", platform.namespace, {"api-keys.json": _base64(key_file.read_text())}),
    )
    store = f"{platform.new_store()}/bundles"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in platform.environment.items():
            patch.setenv(name, value)
        patch.setenv("KUBECONFIG", platform.cluster.kubeconfig)
        patch.setenv("SLIPWAY_API_KEY", key)
        for bundle in ("first", "second", "third", "shuffled", "raising", "tampered"):
            storage.upload_folder(folder / bundle, f"{store}/{bundle}")
        settings = ClusterSettings(namespace=platform.namespace, gateway=gateway)
        yield Serving(settings, platform.mlflow, store, small_dataset, folder, platform)


def _object(kind: str, name: str, namespace: str, data: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "data": data}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture(scope="module")
def messages(serving: Serving) -> Model:
    """A model whose first version serves; tests leave a healthy champion behind."""
    model = serving.model("messages")
    first = model.register("first")
    result = model.roll_out(first)
    assert result.outcome == "promoted", result.reason
    return model


@pytest.fixture
def prometheus_url(platform: Platform, tmp_path: Path) -> Iterator[str]:
    """A Prometheus here that scrapes the model servers' pods through the API server, as a step of the pipeline may."""
    config = platform.cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output=json")
    api = json.loads(config)["clusters"][0]["cluster"]
    (tmp_path / "ca.crt").write_bytes(base64.b64decode(api["certificate-authority-data"]))
    token = platform.cluster.kubectl("create", "token", "slipway-pipeline", "--namespace", platform.namespace)
    with _pods_for_prometheus(platform, urlsplit(api["server"]).netloc) as address:
        scraped = {
            "job_name": "servers",
            "scheme": "https",
            "authorization": {"credentials": token.strip()},
            "tls_config": {"ca_file": "ca.crt"},
            "http_sd_configs": [{"url": address, "refresh_interval": "1s"}],
        }
        with prometheus.running(tmp_path, scraped) as url:
            yield url


@contextmanager
def _pods_for_prometheus(platform: Platform, api: str) -> Iterator[str]:
    """The address of a list of the pods with a model server, for a Prometheus that cannot ask Kubernetes itself."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pods = platform.read("pods", "-l", "serving.kserve.io/inferenceservice")["items"]
            body = json.dumps([_scraped(pod["metadata"]["name"], platform.namespace, api) for pod in pods]).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _scraped(pod: str, namespace: str, api: str) -> dict[str, Any]:
    """A target of Prometheus: a pod, by the API server's proxy."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}:8082/proxy/metrics"
    return {"targets": [api], "labels": {"pod": pod, "namespace": namespace, "__metrics_path__": path}}


@pytest.fixture
def champion(messages: Model) -> Version:
    """The version that serves before the test."""
    found = messages.registry.champion()
    assert found
    messages.serves(found)
    return found


def test_the_first_version_serves_and_can_be_found_from_either_side(messages: Model, champion: Version) -> None:
    pods = messages.serving.platform.read("pods", "-l", f"slipway.dev/version={champion.version}")["items"]
    assert pods
    assert all(pod["metadata"]["annotations"]["slipway.dev/digest"] == champion.digest for pod in pods)
    status = messages.served.status()
    assert status.healthy, status.message
    assert (status.champion and status.champion.version, status.champion and status.champion.digest) == (
        champion.version,
        champion.digest,
    )


def test_a_good_version_is_promoted_without_a_failed_request(messages: Model, champion: Version) -> None:
    before = messages.revisions()
    second = messages.register("second")
    with messages.clients() as clients:
        result = messages.roll_out(second)
        clients.wait_for(second.version)
    assert result.outcome == "promoted", result.reason
    assert clients.failures == []
    assert set(clients.by_version()) == {champion.version, second.version}
    assert result.requests.challenger >= QUICK.minimum_requests
    assert len(messages.revisions()) == len(before) + 1  # the state in the annotations made no revision
    messages.serves(second)
    previous = messages.registry.previous()
    assert previous
    assert previous.version == champion.version


@prometheus.needed
def test_the_counts_of_a_prometheus_decide_as_the_pods_own(
    messages: Model, champion: Version, prometheus_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_counters, "PodMetrics", None)  # nothing else is asked
    settings = messages.serving.settings.model_copy(update={"prometheus": prometheus_url})
    model = Model(Serving(**{**vars(messages.serving), "settings": settings}), messages.name, messages.registry)
    with model.clients([f"my parcel is late {TRIGGER}", "my parcel is late"]) as clients:
        bad = model.roll_out(model.register("raising"))
    assert bad.outcome == "rolled_back", bad.reason
    assert "errors" in bad.reason
    assert 0 < len(clients.failures) <= bad.requests.challenger_errors
    model.serves(champion)
    version = model.register("first")
    with model.clients() as clients:
        good = model.roll_out(version)
    assert good.outcome == "promoted", good.reason
    assert good.requests.challenger >= QUICK.minimum_requests
    assert clients.failures == []
    model.serves(version)


def test_a_version_with_wrong_answers_is_rolled_back_before_a_client_sees_it(
    messages: Model, champion: Version
) -> None:
    with messages.clients() as clients:
        result = messages.roll_out(messages.register("shuffled"))
    assert result.outcome == "rolled_back"
    assert "wrong answers" in result.reason
    assert clients.failures == []
    assert set(clients.by_version()) == {champion.version}
    messages.serves(champion)


def test_only_a_bad_canary_s_own_share_of_requests_fails(messages: Model, champion: Version) -> None:
    with messages.clients([f"my parcel is late {TRIGGER}", "my parcel is late"]) as clients:
        result = messages.roll_out(messages.register("raising"))
    assert result.outcome == "rolled_back", result.reason
    assert "errors" in result.reason
    assert 0 < len(clients.failures) <= result.requests.challenger_errors
    assert {failure.partition(" ")[0] for failure in clients.failures} == {"500"}
    messages.serves(champion)


@pytest.mark.parametrize(
    ("bundle", "reason"), [("tampered", "BundleRefused"), ("absent", "fetching the bundle")], ids=["tampered", "absent"]
)
def test_a_version_that_cannot_load_is_rolled_back_with_the_pod_s_own_reason(
    messages: Model, champion: Version, bundle: str, reason: str
) -> None:
    version = messages.register(bundle) if bundle != "absent" else _absent(messages)
    with messages.clients() as clients:
        result = messages.roll_out(version)
    assert result.outcome == "rolled_back"
    assert reason in result.reason
    assert clients.failures == []
    messages.serves(champion)


def _absent(model: Model) -> Version:
    """A version whose bundle was never stored."""
    return model.registry.register(f"{model.serving.store}/absent", "sha256:" + "0" * 64, {})


def test_a_bad_image_is_reported_and_the_champion_restored(messages: Model, champion: Version) -> None:
    runtime = messages.serving.platform.read("servingruntime", "slipway-bundle")
    bad = {key: runtime[key] for key in ("apiVersion", "kind", "spec")} | {
        "metadata": {"name": "bad-image", "namespace": messages.serving.settings.namespace}
    }
    bad["spec"]["containers"][0]["image"] = "dev.local/there-is-no-such-image:1"
    messages.serving.platform.cluster.apply(bad)
    target = KServeTarget(messages.name, messages.serving.settings.model_copy(update={"runtime": "bad-image"}))
    version = messages.register("second")
    revision = revision_of(version)
    with target.lock():
        target.deploy(revision)
        with pytest.raises(SlipwayError, match="there-is-no-such-image"):
            target.wait_ready(revision, 120.0)
    said = messages.served.rollback()
    assert f"version {champion.version} serves all traffic" in said
    messages.serves(champion)


@pytest.mark.usefixtures("champion")
def test_fields_of_others_stay(messages: Model) -> None:
    name, namespace = messages.name, messages.serving.settings.namespace
    theirs = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": namespace, "labels": {"team": "support"}},
        "spec": {"predictor": {"timeout": 55}},
    }
    apply = ("apply", "--server-side", "--field-manager=somebody", "-f", "-")
    messages.serving.platform.cluster.kubectl(*apply, given=json.dumps(theirs))
    third = messages.register("third")
    assert messages.roll_out(third).outcome == "promoted"
    found = messages.service()
    assert found["metadata"]["labels"]["team"] == "support"
    assert found["spec"]["predictor"]["timeout"] == 55  # noqa: PLR2004
    messages.serves(third)


def test_two_rollouts_never_drive_one_service(messages: Model, champion: Version) -> None:
    with messages.target.lock(), pytest.raises(SlipwayError, match=f"process {os.getpid()} on"):
        messages.roll_out(messages.register("second"))
    challenger = messages.registry.challenger()
    assert challenger is not None
    messages.registry.reject(challenger, "the test is over")
    messages.serves(champion)


DRIVER = """
import sys
from slipway.components.rollout import step
from slipway.components.rollout.request import RolloutRequest
print(step.run(RolloutRequest.model_validate_json(sys.stdin.read())).model_dump_json())
"""


def start_driver(model: Model, version: Version, settings: RolloutSettings) -> "subprocess.Popen[str]":
    """A process that rolls a version out."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    process.stdin.write(model.request(version, settings).model_dump_json())
    process.stdin.close()
    return process


def until(done: Callable[[], Any], what: str, seconds: float = 180.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.2)


@pytest.mark.usefixtures("champion")
def test_a_driver_that_is_killed_goes_on_where_it_was(messages: Model) -> None:
    version = messages.register("first")
    patient = QUICK.model_copy(update={"minimum_requests": 100_000, "step_time_limit_s": 600.0})
    with ExitStack() as stack:
        clients = stack.enter_context(messages.clients())
        killed = start_driver(messages, version, patient)
        until(lambda: "canaryTrafficPercent" in messages.service()["spec"]["predictor"], "the canary's deployment")
        clients.wait_for(version.version)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        revisions = messages.revisions()
        status = messages.served.status()
        assert status.rollout
        assert status.rollout.phase == "traffic"
        assert status.challenger
        assert status.challenger.percent > 0
        until(lambda: messages.target.holder() is None, "the end of the killed driver's lease")
        result = messages.roll_out(version)
    assert result.outcome == "promoted", result.reason
    assert result.resumed == 1
    assert messages.revisions() == revisions
    assert clients.failures == []
    messages.serves(version)


def test_the_canary_of_a_run_that_was_cancelled_is_taken_back(messages: Model, champion: Version) -> None:
    version = messages.register("second")
    patient = QUICK.model_copy(update={"minimum_requests": 100_000, "step_time_limit_s": 600.0})
    with ExitStack() as stack:
        clients = stack.enter_context(messages.clients())
        driver = start_driver(messages, version, patient)
        clients.wait_for(version.version)
        driver.kill()
        driver.wait()
        said = take_back(messages.name, messages.serving.settings, messages.registry, version.version)
    assert re.fullmatch(rf"version {version.version} had \d+ % of the traffic and was rolled back", said)
    assert clients.failures == []
    assert messages.registry.version(version.version).tags["reason"] == "the run was cancelled"
    messages.serves(champion)


@pytest.mark.usefixtures("champion")
def test_the_registry_is_repaired_after_a_death_between_traffic_and_aliases(messages: Model) -> None:
    version = messages.register("second")
    target = messages.target
    revision = revision_of(version)
    with target.lock():  # what a driver does that dies before it has moved the aliases
        target.deploy(revision)
        target.wait_ready(revision, 120.0)
        target.promote()
    assert "--repair" in messages.served.status().message
    assert f"champion is version {version.version}" in messages.served.repair()
    assert messages.served.status().healthy
    messages.serves(version)


def test_a_first_version_that_does_not_start_leaves_nothing_behind(serving: Serving) -> None:
    model = serving.model("never-served")
    result = model.roll_out(model.register("tampered", as_it_is=True))
    assert result.outcome == "rolled_back"
    assert "model.onnx was altered" in result.reason
    assert model.target.api.read() is None
    assert model.aliases() == (None, None)


def test_each_revision_has_the_least_number_of_pods(serving: Serving) -> None:
    model = serving.model("two-pods")
    settings = serving.settings.model_copy(update={"min_replicas": 2})
    model.serving = Serving(**{**vars(serving), "settings": settings})
    target = model.target
    first, second = (revision_of(model.register(bundle)) for bundle in ("first", "second"))
    try:
        with target.lock():
            target.deploy(first)
            target.wait_ready(first, 120.0)
            assert len(readiness.ready(target.api.pods(first.version))) >= 2
            target.promote()
            target.deploy(second)
            target.wait_ready(second, 120.0)
            target.set_traffic(60)
            assert all(len(readiness.ready(target.api.pods(found.version))) >= 2 for found in (first, second))
            target.promote()
            assert len(readiness.ready(target.api.pods(second.version))) >= 2
    finally:
        model.remove()


def test_a_service_for_grpc_is_rolled_out_too(serving: Serving) -> None:
    model = serving.model("over-grpc")
    settings = serving.settings.model_copy(update={"protocol": "grpc"})
    model.serving = Serving(**{**vars(serving), "settings": settings})
    first, second = model.register("first"), model.register("second")
    try:
        for version in (first, second):
            result = model.roll_out(version)
            assert result.outcome == "promoted", result.reason
        assert result.requests.probes > 0  # over gRPC, since no client came
        with ClusterModel(settings, model.registry).client() as client:
            assert isinstance(client, GrpcClient)
            text, label = (serving.dataset.texts("test")[0], serving.dataset.label_ids("test")[0])
            assert client.predict([text])[0].label == serving.dataset.labels[label]
    finally:
        model.remove()


def test_standard_mode_serves_and_says_what_its_canaries_need(serving: Serving) -> None:
    model = serving.model("standard")
    model.serving = Serving(
        **{**vars(serving), "settings": serving.settings.model_copy(update={"deployment_mode": "Standard"})}
    )
    target = model.target
    first, second = (revision_of(model.register(bundle)) for bundle in ("first", "second"))
    with target.lock():
        target.deploy(first)
        target.wait_ready(first, 120.0)
        target.promote()
        assert target.champion() == first
        assert [pair.challenger for pair in target.compare(["hello"])] == [None]
        try:
            target.deploy(second)
            splits = _ready_or_reason(target, second)
            assert target.champion() == first
            pairs = target.compare(serving.dataset.texts("test")[:5])
            assert all(pair.champion and pair.champion == pair.challenger for pair in pairs)
            if splits:
                target.set_traffic(50)
            target.rollback()
            assert target.challenger() is None
            assert "canary" not in model.service()["spec"]
            target.deploy(second)
            _ready_or_reason(target, second)
            target.promote()
            assert target.champion() == second
            assert model.service()["spec"]["predictor"]["name"] == f"v{second.version}"
        finally:
            model.remove()


def _ready_or_reason(target: KServeTarget, revision: Revision) -> bool:
    """Whether this KServe splits traffic in Standard mode; one that does not says which version does."""
    try:
        target.wait_ready(revision, 120.0)
    except SlipwayError as error:
        assert "KServe splits the traffic of `spec.canary` from version 0.21 on" in str(error)  # noqa: PT017
        return False
    return True


def test_metrics_are_not_where_the_world_comes_in(messages: Model) -> None:
    endpoint = messages.target.endpoint()
    url = f"{endpoint.base}/metrics"
    assert httpx.get(url, headers=endpoint.headers, trust_env=False).status_code == httpx.codes.UNAUTHORIZED
    known = endpoint.headers | credentials()
    assert httpx.get(url, headers=known, trust_env=False).status_code == httpx.codes.NOT_FOUND


def test_an_endpoint_is_known_by_its_host(messages: Model) -> None:
    endpoint = messages.target.endpoint()
    assert isinstance(endpoint, Endpoint)
    assert endpoint.host.startswith(f"{messages.name}-predictor.")
