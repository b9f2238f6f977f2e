"""The home folder of an earlier release: runs, registry, keys, and the service in the middle of a rollout."""

import json
import stat
from pathlib import Path

import httpx
import pytest

from slipway.components.artifacts import signing
from slipway.components.clients import api_keys
from slipway.components.platforms.model_registry import Registry
from slipway.components.report.outcome import outcome_of
from slipway.components.report.step import run as write_report
from slipway.components.rollout import state
from slipway.components.rollout.local import access
from slipway.components.rollout.local import state as local_state
from slipway.components.rollout.local.model import LocalModel
from slipway.components.step_runtime import step_context
from slipway.pipelines.home import Places
from slipway.pipelines.local_run import SETTINGS, running
from slipway.pipelines.settings import SlipwaySettings
from tests.conftest import free_port


@pytest.fixture
def places(user: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("SLIPWAY_HOME", str(user / "home"))
    return Places.here()


@pytest.fixture
def model(places: Places) -> LocalModel:
    return LocalModel(places.service, f"sqlite:///{places.home / 'mlflow.db'}")


@pytest.fixture
def registry(places: Places) -> Registry:
    return Registry(f"sqlite:///{places.home / 'mlflow.db'}", "messages")


def test_a_run_of_then_has_its_settings_results_and_report(places: Places, tmp_path: Path) -> None:
    (run,) = places.runs.iterdir()
    assert running(places) == ""
    settings = SlipwaySettings.model_validate_json((run / SETTINGS).read_text("utf-8"))
    assert settings.model_name == "messages"
    record = step_context.record(run)
    assert set(record.results) >= {"prepare_data", "train", "compress", "evaluate", "register", "rollout"}
    assert outcome_of(record).exit_code == 0
    write_report(record, settings.model_name, run.name, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text("utf-8")
    assert all(f'<section id="{step}">' in html for step in ("prepare_data", "train", "register", "rollout"))


def test_the_registry_knows_its_versions_by_their_tags(registry: Registry, user: Path) -> None:
    champion, challenger = registry.champion(), registry.challenger()
    assert champion
    assert challenger
    assert (champion.version, challenger.version, registry.previous()) == ("1", "2", None)
    assert registry.find("digest", challenger.digest) == challenger
    for version in (champion, challenger):
        wanted = signing.Wanted("messages", version.digest)
        assert signing.opened(Path(version.bundle_uri), user / "public.pem", wanted).digest() == version.digest


def test_keys_of_then_are_good_and_stay_so(places: Places) -> None:
    file = access.key_file(places.service)
    before = api_keys.read(file)
    assert [entry.identity for entry in before] == ["local", "shop"]
    own = (places.service / access.OWN_KEY).read_text("ascii").strip()
    assert access.headers(places.service, auth=True) == {"authorization": f"Bearer {own}"}
    api_keys.add(file, "shop", [api_keys.Scope.PREDICT])
    assert api_keys.read(file)[:2] == before


def test_the_service_says_where_it_was(model: LocalModel) -> None:
    found = model.status()
    assert found.champion
    assert found.challenger
    assert (found.champion.version, found.challenger.version) == ("1", "2")
    assert found.message == "stopped; `slipway start` serves again"
    assert found.rollout
    assert (found.rollout.phase, found.rollout.percent) == ("traffic", 10)


def test_a_rollout_of_a_later_slipway_is_told_and_hides_nothing_else(model: LocalModel) -> None:
    (model.folder / "rollout.json").write_text(json.dumps({"format": 99}), "utf-8")
    found = model.status()
    assert found.champion
    assert found.rollout is None
    assert "the kept state of a rollout has format 99; this Slipway reads up to 1: upgrade Slipway" in found.message


def test_a_rollout_of_then_is_kept_without_loss(places: Places) -> None:
    plain = json.loads((places.service / "rollout.json").read_text("utf-8"))
    again = state.to_json(state.from_json(plain))
    assert {name: again[name] for name in ("seen", "position", "elapsed_s", "phase", "timeline")} == {
        name: plain[name] for name in ("seen", "position", "elapsed_s", "phase", "timeline")
    }


def test_only_the_user_can_enter_a_home_of_then(places: Places) -> None:
    assert stat.S_IMODE(places.home.stat().st_mode) == stat.S_IMODE(places.service.stat().st_mode) == 0o700


@pytest.mark.local
def test_the_challenger_of_then_is_promoted_and_serves(model: LocalModel, registry: Registry) -> None:
    here = local_state.load(model.folder)
    assert here
    here.http_port, here.grpc_port = free_port(), free_port()
    local_state.save(model.folder, here)
    try:
        assert model.promote() == "version 2 serves all traffic, in place of version 1"
        given = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["parcel late please"]}
        headers = access.headers(model.folder, auth=True)
        url = f"http://127.0.0.1:{here.http_port}/v2/models/messages/infer"
        answer = httpx.post(url, json={"inputs": [given]}, headers=headers, timeout=30, trust_env=False)
        assert (answer.status_code, answer.headers["x-slipway-version"]) == (200, "2")
    finally:
        model.stop()
    champion, previous = registry.champion(), registry.previous()
    assert champion
    assert previous
    assert (champion.version, previous.version, registry.challenger()) == ("2", "1", None)
