"""Rollouts on this machine with real model servers, a real Envoy and a real registry."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

from components import api_keys, signing
from components.api_keys import Scope
from components.bundle import Bundle
from components.credentials import API_KEY
from components.errors import BadInput, SlipwayError
from components.registry import Registry
from components.rollout import component, control, step
from components.rollout.local import access, processes
from components.rollout.local import state as local_state
from components.rollout.local.envoy_config import VERSION_HEADER
from components.rollout.settings import RolloutSettings

pytestmark = pytest.mark.local

IN_FLIGHT = 2
"""Each of the two clients may have a request on its way when the last counts are taken."""
RARE = "z"
"""A word that no labelled text has."""
STEP = """
import json, sys
from pathlib import Path
from components.rollout import step
from components.rollout.settings import RolloutSettings
given = json.loads(sys.argv[1])
settings = RolloutSettings(**given.pop("settings"))
paths = {name: Path(given.pop(name)) for name in ("dataset", "service", "public_key")}
step.run(settings=settings, **paths, **given)
"""


def load_bad_bundles() -> ModuleType:
    path = Path(__file__).with_name("bad_bundles.py")
    spec = importlib.util.spec_from_file_location("bad_bundles", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Site:
    """A service with its registry and keys, and what makes bundles for it."""

    folder: Path
    dataset: Path
    draft: Path
    settings: RolloutSettings
    make: ModuleType = field(default_factory=load_bad_bundles)
    made: int = 0

    @property
    def service(self) -> Path:
        return self.folder / "service"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def keys(self) -> signing.KeyPair:
        return signing.key_pair(self.folder / "keys")

    @property
    def registry(self) -> Registry:
        return Registry(self.tracking_uri, "messages")

    def bundle(self, kind: str, **options: Any) -> Path:
        """A new bundle, made by a function of `bad_bundles`."""
        self.made += 1
        folder = self.folder / "bundles" / f"{self.made}-{kind}"
        return getattr(self.make, kind)(self.draft, folder, self.keys.private_key, **options)

    def good(self) -> Path:
        return self.bundle("signed_copy", note=f"copy {self.made}")

    def arguments(self, bundle: Path, **changes: Any) -> dict[str, Any]:
        digest = Bundle(bundle).digest()
        version = self.registry.find("digest", digest) or self.registry.register(str(bundle), digest, {})
        given = {"version": version.version, "bundle_uri": str(bundle), "digest": digest, "dataset": self.dataset}
        given |= {"settings": self.settings, "tracking_uri": self.tracking_uri, "model_name": "messages"}
        return given | {"service": self.service, "public_key": self.keys.public_key} | changes

    def roll_out(self, bundle: Path, **changes: Any) -> dict[str, Any]:
        return step.run(**self.arguments(bundle, **changes))

    def serving(self) -> str:
        """The version that answers clients."""
        answer = self.ask("my parcel is late")
        assert answer.status_code == 200
        return answer.headers[VERSION_HEADER]

    def ask(self, text: str) -> httpx.Response:
        url = f"http://127.0.0.1:{self.settings.http_port}/v2/models/messages/infer"
        given = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
        return httpx.post(url, json={"inputs": [given]}, headers=self.headers, timeout=30, trust_env=False)

    @property
    def headers(self) -> dict[str, str]:
        """With the key of the service."""
        return access.headers(self.service, auth=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory, draft_bundle, small_dataset) -> Iterator[Site]:
    """A site whose first version serves."""
    settings = RolloutSettings(http_port=free_port(), grpc_port=free_port(), minimum_requests=20)
    here = Site(tmp_path_factory.mktemp("site"), small_dataset.folder, draft_bundle, settings)
    try:
        assert here.roll_out(here.good())["outcome"] == "promoted"
        yield here
    finally:
        control.stop(here.service)


class Clients:
    """Clients that send without pause, over REST and gRPC, while the block runs."""

    def __init__(self, site: Site, texts: list[str]) -> None:
        self.site, self.texts = site, texts
        self.answers: Counter[tuple[str, bool]] = Counter()
        self.failed_at: set[str | None] = set()
        """Versions whose REST answers were failures."""
        self._over = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._rest, self._grpc)]

    def _rest(self) -> None:
        url = f"http://127.0.0.1:{self.site.settings.http_port}/v2/models/messages/infer"
        with httpx.Client(headers=self.site.headers, timeout=30, trust_env=False) as http:
            while not self._over.is_set():
                for text in self.texts:
                    given = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}
                    try:
                        answer = http.post(url, json={"inputs": [given]})
                        good, version = answer.status_code == 200, answer.headers.get(VERSION_HEADER)
                    except httpx.HTTPError:
                        good, version = False, None
                    self.answers["rest", good] += 1
                    if not good:
                        self.failed_at.add(version)

    def _grpc(self) -> None:
        client = control.client(self.site.service, grpc=True)
        while not self._over.is_set():
            for text in self.texts:
                try:
                    client.predict([text])
                    good = True
                except SlipwayError:
                    good = False
                self.answers["grpc", good] += 1

    @property
    def failures(self) -> int:
        return self.answers["rest", False] + self.answers["grpc", False]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)  # the end of the old server is part of what clients must not notice
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_the_first_version_serves_without_a_canary(site):
    assert site.registry.champion().version == site.serving()
    assert control.status(site.service)["healthy"]


def test_a_good_version_takes_over_without_a_failed_request(site):
    before = site.serving()
    with Clients(site, ["my parcel is late", "the invoice was charged again"]) as clients:
        result = site.roll_out(site.good())
    assert result["outcome"] == "promoted"
    assert result["requests"]["clients"] > 0
    assert clients.answers["rest", True] > 100
    assert clients.answers["grpc", True] > 20
    assert clients.failures == 0
    assert site.serving() == result["version"] == site.registry.champion().version
    assert site.registry.previous().version == before


@pytest.mark.parametrize(("kind", "words"), [("shuffled_labels", "wrong answers"), ("slow", "slow answers")])
def test_a_bad_version_is_rolled_back_by_its_evidence(site, kind, words):
    before = site.serving()
    result = site.roll_out(site.bundle(kind))
    assert result["outcome"] == "rolled_back"
    assert words in result["reason"]
    assert site.serving() == before == site.registry.champion().version
    assert site.registry.version(result["version"]).tags["outcome"] == "rejected"


def test_a_version_that_raises_on_some_inputs_is_found_in_shadow_and_harms_nobody(site):
    before = site.serving()
    with Clients(site, ["my parcel is late", f"the invoice {RARE}"]) as clients:
        result = site.roll_out(site.bundle("raising", word=RARE))
    assert result["outcome"] == "rolled_back"
    assert "errors" in result["reason"]
    assert result["requests"]["copied"] > 0
    assert clients.failures == 0
    assert site.serving() == before


def test_without_shadow_a_version_that_raises_on_some_inputs_harms_its_share_of_clients_at_most(site):
    before = site.serving()
    settings = site.settings.model_copy(update={"shadow_requests": 0})
    with Clients(site, ["my parcel is late", f"the invoice {RARE}"]) as clients:
        result = site.roll_out(site.bundle("raising", word=RARE), settings=settings)
    assert result["outcome"] == "rolled_back"
    assert "errors" in result["reason"]
    assert 0 < clients.failures <= result["requests"]["challenger_errors"] + IN_FLIGHT
    assert clients.failed_at == {result["version"]}
    first_share = site.settings.percents[0] / 100
    assert clients.failures < 1.5 * first_share * clients.answers.total()
    assert site.serving() == before


def test_a_tampered_bundle_is_refused_before_it_loads(site):
    before = site.serving()
    result = site.roll_out(site.bundle("tampered"))
    assert result["outcome"] == "rolled_back"
    assert "BundleRefused" in result["reason"]
    assert "model.onnx was altered" in result["reason"]
    assert result["requests"]["challenger"] == 0
    assert site.serving() == before


def test_a_bundle_that_changed_since_its_registration_is_not_started(site):
    bundle = site.good()
    registered = site.arguments(bundle)
    site.make.signed_copy(site.draft, bundle, site.keys.private_key, "something else, properly signed")
    result = step.run(**registered)
    assert result["outcome"] == "rolled_back"
    assert "changed after its registration" in result["reason"]


def test_a_killed_rollout_goes_on_where_it_was(site):
    given = site.arguments(site.good())
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}
    plain["settings"] = {**site.settings.model_dump(), "minimum_requests": 60}
    process = subprocess.Popen([sys.executable, "-c", STEP, json.dumps(plain)], stderr=subprocess.DEVNULL)
    while (rollout := (control.status(site.service)["rollout"] or {})).get("phase") != "traffic":
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert rollout["texts"] > 0
    assert site.ask("my parcel is late").status_code == 200
    result = step.run(**given)
    assert result["outcome"] == "promoted"
    assert result["resumed"] == 1
    assert result["requests"]["challenger"] >= rollout["requests"]
    assert site.serving() == given["version"]


def test_the_component_hands_on_what_the_step_found(site, tmp_path):
    champion = site.registry.champion()
    before = tmp_path / "before.json"
    before.write_text(json.dumps({"train": {}}))
    artifact = {name: SimpleNamespace(path=str(tmp_path / name)) for name in ("results", "html")}
    outputs = component.rollout.python_func(
        version=champion.version,
        bundle_uri=champion.bundle_uri,
        digest=champion.digest,
        dataset=SimpleNamespace(path=str(site.dataset)),
        settings=site.settings.model_dump(),
        tracking_uri=site.tracking_uri,
        model_name="messages",
        service=str(site.service),
        public_key=str(site.keys.public_key),
        target="local",
        cluster={},
        results_before=SimpleNamespace(path=str(before)),
        **artifact,
    )
    assert outputs == ("already_champion",)
    results = json.loads((tmp_path / "results").read_text())
    assert results["rollout"]["endpoint"]["rest"] == f"http://127.0.0.1:{site.settings.http_port}"
    assert "serves all traffic already" in (tmp_path / "html").read_text()


def test_both_protocols_give_the_same_predictions(site):
    texts = ["my parcel is late", "the invoice was charged again", "password login"] * 15
    rest, grpc = (control.client(site.service, grpc=use).predict(texts) for use in (False, True))
    assert [prediction.label for prediction in rest] == [prediction.label for prediction in grpc]
    assert rest[0].label == "delivery"
    assert rest[0].probabilities["delivery"] == pytest.approx(rest[0].score) == pytest.approx(grpc[0].score)


def test_rollback_by_hand_serves_the_version_before(site):
    champion, previous = site.registry.champion().version, site.registry.previous().version
    with Clients(site, ["my parcel is late"]) as clients:
        words = control.rollback(site.service, site.tracking_uri)
    assert clients.failures == 0
    assert f"version {previous} serves" in words
    assert site.serving() == site.registry.champion().version == previous
    assert site.registry.previous().version == champion


def test_a_held_challenger_is_promoted_by_hand(site):
    undecided = site.settings.model_copy(update={"max_accuracy_drop": 0.001})  # can not be shown with so few texts
    result = site.roll_out(site.good(), settings=undecided)
    assert result["outcome"] == "held"
    assert site.serving() != result["version"]
    assert control.status(site.service)["challenger"]["version"] == result["version"]
    control.promote(site.service, site.tracking_uri)
    assert site.serving() == result["version"] == site.registry.champion().version
    assert control.status(site.service)["challenger"] is None


def test_a_stopped_service_comes_back_at_the_same_address(site):
    before = site.serving()
    assert control.stop(site.service)
    assert not control.is_running(site.service)
    stopped = control.status(site.service)
    assert not stopped["healthy"]
    assert "slipway start" in stopped["message"]
    with pytest.raises(SlipwayError, match="slipway start"):
        control.client(site.service).predict(["hello"])
    control.start(site.service)
    assert site.serving() == before
    assert control.status(site.service)["healthy"]


@pytest.mark.parametrize("role", ["proxy", "champion"])
def test_status_names_what_died_and_start_brings_it_back(site, role):
    os.kill(control.status(site.service)[role]["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while control.status(site.service)["healthy"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert f"the {role} does not run" in control.status(site.service)["message"]
    control.start(site.service)
    assert control.status(site.service)["healthy"]
    assert site.serving()


def test_a_port_in_use_is_named_with_its_setting(site, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = site.settings.model_copy(update={"http_port": port, "grpc_port": free_port()})
        with pytest.raises(BadInput, match=rf"port {port} \(rollout.http_port\)"):
            site.roll_out(site.good(), settings=settings, service=tmp_path / "other")


def test_other_ports_need_a_stop_first(site):
    settings = site.settings.model_copy(update={"http_port": free_port()})
    with pytest.raises(BadInput, match="slipway stop"):
        site.roll_out(site.good(), settings=settings)


@pytest.mark.parametrize("grpc", [False, True])
def test_strangers_are_refused_and_a_key_that_was_made_for_a_client_works_at_once(site, monkeypatch, grpc):
    monkeypatch.setenv(API_KEY, "slipway_000000000000_stranger")
    with control.client(site.service, grpc) as stranger, pytest.raises(BadInput, match="API key"):
        stranger.predict(["my parcel is late"])
    _, key = api_keys.add(access.key_file(site.service), "shop", [Scope.PREDICT])
    time.sleep(2)  # servers look at the file once a second
    monkeypatch.setenv(API_KEY, key)
    with control.client(site.service, grpc) as client:
        assert client.predict(["my parcel is late"])[0].label == "delivery"


def test_open_servers_need_a_stop_first(site):
    open_to_all = site.settings.model_copy(update={"auth": False})
    with pytest.raises(BadInput, match=r"rollout\.auth.*slipway stop"):
        site.roll_out(site.good(), settings=open_to_all)


def test_servers_hold_no_credentials_of_the_command_that_started_them(site, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    control.stop(site.service)
    control.start(site.service)
    champion = local_state.load(site.service).champion
    environment = Path(f"/proc/{champion.daemon.pid}/environ").read_bytes()
    assert b"hidden" not in environment


def test_a_process_that_took_over_an_old_id_is_left_alone(tmp_path):
    daemon = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path / "log")
    try:
        earlier = processes.Daemon(daemon.pid, daemon.started - 3600)
        assert not earlier.alive()
        earlier.stop(1.0)
        assert daemon.alive()
    finally:
        daemon.stop(5.0)
    assert not daemon.alive()
