"""Rollouts on this machine with real model servers, a real Envoy and a real registry."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from slipway.components.clients import api_keys
from slipway.components.clients.api_keys import Scope
from slipway.components.clients.credentials import API_KEY
from slipway.components.errors import BadInput
from slipway.components.rollout import component, step
from slipway.components.rollout.local import access, processes
from slipway.components.rollout.request import RolloutRequest
from slipway.components.step_runtime.step_request import StepRequest
from tests.conftest import free_port
from tests.local import bad_bundles
from tests.local.site import Clients, Site

pytestmark = pytest.mark.local

IN_FLIGHT = 2
"""Each of the two clients may have a request on its way when the last counts are taken."""
RARE = "z"
"""A word that no labelled text has."""
STEP = """
import sys
from slipway.components.rollout import step
from slipway.components.rollout.request import RolloutRequest
step.run(RolloutRequest.model_validate_json(sys.argv[1]))
"""


def test_the_first_version_serves_without_a_canary(site: Site) -> None:
    assert site.champion().version == site.serving()
    assert site.model.status().healthy


def test_a_good_version_takes_over_without_a_failed_request(site: Site) -> None:
    before = site.serving()
    with Clients(site, ["my parcel is late", "the invoice was charged again"]) as clients:
        result = site.roll_out(site.good())
    assert result.outcome == "promoted"
    assert result.requests.clients > 0
    assert clients.answers["rest", True] > 100
    assert clients.answers["grpc", True] > 20
    assert clients.failures == 0
    assert site.serving() == result.version == site.champion().version
    assert site.previous().version == before


@pytest.mark.parametrize(("kind", "words"), [("shuffled_labels", "wrong answers"), ("slow", "slow answers")])
def test_a_bad_version_is_rolled_back_by_its_evidence(site: Site, kind: str, words: str) -> None:
    before = site.serving()
    result = site.roll_out(site.bundle(kind))
    assert result.outcome == "rolled_back"
    assert words in result.reason
    assert site.serving() == before == site.champion().version
    assert site.registry.version(result.version).tags["outcome"] == "rejected"


def test_a_version_that_raises_on_some_inputs_is_found_in_shadow_and_harms_nobody(site: Site) -> None:
    before = site.serving()
    with Clients(site, ["my parcel is late", f"the invoice {RARE}"]) as clients:
        result = site.roll_out(site.bundle("raising", word=RARE))
    assert result.outcome == "rolled_back"
    assert "errors" in result.reason
    assert result.requests.copied > 0
    assert clients.failures == 0
    assert site.serving() == before


def test_without_shadow_a_version_that_raises_on_some_inputs_harms_its_share_of_clients_at_most(site: Site) -> None:
    before = site.serving()
    settings = site.settings.model_copy(update={"shadow_requests": 0})
    with Clients(site, ["my parcel is late", f"the invoice {RARE}"]) as clients:
        result = site.roll_out(site.bundle("raising", word=RARE), settings=settings)
    assert result.outcome == "rolled_back"
    assert "errors" in result.reason
    assert 0 < clients.failures <= result.requests.challenger_errors + IN_FLIGHT
    assert clients.failed_at == {result.version}
    first_share = site.settings.percents[0] / 100
    assert clients.failures < 1.5 * first_share * clients.answers.total()
    assert site.serving() == before


def test_a_tampered_bundle_is_refused_before_it_loads(site: Site) -> None:
    before = site.serving()
    result = site.roll_out(site.bundle("tampered"))
    assert result.outcome == "rolled_back"
    assert "BundleRefused" in result.reason
    assert "model.onnx was altered" in result.reason
    assert result.requests.challenger == 0
    assert site.serving() == before


def test_a_bundle_that_changed_since_its_registration_is_not_started(site: Site) -> None:
    bundle = site.good()
    registered = site.arguments(bundle)
    bad_bundles.signed_copy(site.draft, bundle, site.keys.private_key, "something else, properly signed")
    result = step.run(RolloutRequest(**registered))
    assert result.outcome == "rolled_back"
    assert "changed after its registration" in result.reason


def test_a_killed_rollout_goes_on_where_it_was(site: Site) -> None:
    given = site.arguments(site.good())
    longer = site.settings.model_copy(update={"minimum_requests": 60})
    plain = RolloutRequest(**given | {"settings": longer}).model_dump_json()
    process = subprocess.Popen([sys.executable, "-c", STEP, plain], stderr=subprocess.DEVNULL)
    while (rollout := site.model.status().rollout) is None or rollout.phase != "traffic":
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert rollout.texts > 0
    assert site.ask("my parcel is late").status_code == 200
    result = step.run(RolloutRequest(**given))
    assert result.outcome == "promoted"
    assert result.resumed == 1
    assert result.requests.challenger >= rollout.requests
    assert site.serving() == given["version"]


def test_the_component_hands_on_what_the_step_found(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = site.champion()
    monkeypatch.setenv("SLIPWAY_HOME", str(site.service.parent))
    monkeypatch.delenv("SLIPWAY_RUN", raising=False)
    registered = {"version": champion.version, "bundle_uri": champion.bundle_uri, "digest": champion.digest}
    served = SimpleNamespace(path=str(tmp_path / "served"), metadata={})
    request = StepRequest(
        settings=site.settings.model_dump(),
        tracking_uri=site.tracking_uri,
        model_name="messages",
        public_key=str(site.keys.public_key),
        target="local",
    )
    component.rollout.python_func(
        bundle=SimpleNamespace(metadata=registered),
        dataset=SimpleNamespace(path=str(site.dataset)),
        request=request.plain(),
        served_model=served,
        rollout_report=SimpleNamespace(path=str(tmp_path / "html")),
    )
    address = f"http://127.0.0.1:{site.settings.http_port}"
    assert served.metadata == registered | {"name": "messages", "outcome": "already_champion", "address": address}
    assert "serves all traffic already" in (tmp_path / "html").read_text()


def test_both_protocols_give_the_same_predictions(site: Site) -> None:
    texts = ["my parcel is late", "the invoice was charged again", "password login"] * 15
    rest, grpc = (site.model.client(grpc=use).predict(texts) for use in (False, True))
    assert [prediction.label for prediction in rest] == [prediction.label for prediction in grpc]
    assert rest[0].label == "delivery"
    assert rest[0].probabilities["delivery"] == pytest.approx(rest[0].score) == pytest.approx(grpc[0].score)


def test_a_port_in_use_is_named_with_its_setting(site: Site, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = site.settings.model_copy(update={"http_port": port, "grpc_port": free_port()})
        with pytest.raises(BadInput, match=rf"port {port} \(rollout.http_port\)"):
            site.roll_out(site.good(), settings=settings, service=tmp_path / "other")


def test_other_ports_need_a_stop_first(site: Site) -> None:
    settings = site.settings.model_copy(update={"http_port": free_port()})
    with pytest.raises(BadInput, match="slipway stop"):
        site.roll_out(site.good(), settings=settings)


@pytest.mark.parametrize("grpc", [False, True])
def test_strangers_are_refused_and_a_key_that_was_made_for_a_client_works_soon(
    site: Site, monkeypatch: pytest.MonkeyPatch, grpc: bool
) -> None:
    monkeypatch.setenv(API_KEY, "slipway_000000000000_stranger")
    with site.model.client(grpc) as stranger, pytest.raises(BadInput, match="API key"):
        stranger.predict(["my parcel is late"])
    _, key = api_keys.add(access.key_file(site.service), "shop", [Scope.PREDICT])
    monkeypatch.setenv(API_KEY, key)
    end = time.monotonic() + 10
    with site.model.client(grpc) as client:
        while True:  # servers look at the file once a second
            try:
                assert client.predict(["my parcel is late"])[0].label == "delivery"
                break
            except BadInput:
                assert time.monotonic() < end
                time.sleep(0.05)


def test_open_servers_need_a_stop_first(site: Site) -> None:
    open_to_all = site.settings.model_copy(update={"auth": False})
    with pytest.raises(BadInput, match=r"rollout\.auth.*slipway stop"):
        site.roll_out(site.good(), settings=open_to_all)


def test_a_process_that_took_over_an_old_id_is_left_alone(tmp_path: Path) -> None:
    daemon = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    try:
        earlier = processes.Daemon(daemon.pid, daemon.started - 3600)
        assert not earlier.alive()
        earlier.stop(1.0)
        assert daemon.alive()
    finally:
        daemon.stop(5.0)
    assert not daemon.alive()
