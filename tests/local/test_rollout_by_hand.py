"""Promote, roll back, stop and start by hand, with real model servers, a real Envoy and a real registry."""

import contextlib
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from slipway.components.errors import BadInput, SlipwayError
from slipway.components.platforms.model_registry import Registry
from slipway.components.rollout.local import servers
from slipway.components.rollout.local import state as local_state
from slipway.components.rollout.local.processes import Daemon
from slipway.components.rollout.local.service import Service
from slipway.components.rollout.local.target import LocalTarget
from tests.local.site import Clients

pytestmark = pytest.mark.local


def test_a_held_challenger_is_promoted_by_hand(site):
    undecided = site.settings.model_copy(update={"max_accuracy_drop": 0.001})  # can not be shown with so few texts
    result = site.roll_out(site.good(), settings=undecided)
    assert result.outcome == "held"
    assert site.serving() != result.version
    assert site.model.status().challenger.version == result.version
    site.model.promote()
    assert site.serving() == result.version == site.registry.champion().version
    assert site.model.status().challenger is None


def test_rollback_by_hand_serves_the_version_before(site):
    champion, previous = site.registry.champion().version, site.registry.previous().version
    with Clients(site, ["my parcel is late"]) as clients:
        words = site.model.rollback()
    assert clients.failures == 0
    assert f"version {previous} serves" in words
    assert site.serving() == site.registry.champion().version == previous
    assert site.registry.previous().version == champion


def test_a_stopped_service_comes_back_at_the_same_address(site):
    before = site.serving()
    assert site.model.stop()
    assert not site.model.running()
    stopped = site.model.status()
    assert not stopped.healthy
    assert "slipway start" in stopped.message
    with pytest.raises(SlipwayError, match="slipway start"):
        site.model.client().predict(["hello"])
    site.model.start()
    assert site.serving() == before
    assert site.model.status().healthy


def test_a_champion_that_an_earlier_release_started_is_replaced_without_a_lost_request(site):
    before = site.model.status().champion
    here = local_state.load(site.service)
    here.champion.release = 0  # as in a state without the field
    local_state.save(site.service, here)
    with Clients(site, ["my parcel is late"]) as clients:
        site.model.start()
    assert clients.failures == 0
    after = site.model.status()
    assert after.healthy
    assert (after.champion.version, after.champion.digest) == (before.version, before.digest)
    assert after.champion.pid != before.pid
    assert not Daemon(before.pid, here.champion.daemon.started).alive()
    again = local_state.load(site.service)
    assert (again.champion.release, again.draining) == (local_state.RELEASE, [])
    site.model.start()
    assert site.model.status().champion.pid == after.champion.pid  # once is enough


def test_a_champion_of_an_earlier_release_stays_when_a_new_one_does_not_start(site, monkeypatch):
    before = site.model.status().champion
    here = local_state.load(site.service)
    here.champion.release = 0
    local_state.save(site.service, here)
    with monkeypatch.context() as broken:
        broken.setattr(servers, "start", without_process)
        with Clients(site, ["my parcel is late"]) as clients:
            site.model.start()
    assert clients.failures == 0
    assert site.model.status().champion.pid == before.pid
    assert local_state.load(site.service).draining == []
    site.model.start()
    assert site.model.status().champion.pid != before.pid


def without_process(service, state, server, audit=""):  # noqa: ARG001
    """A server that ends at once."""


@pytest.mark.parametrize("role", ["proxy", "champion"])
def test_status_names_what_died_and_start_brings_it_back(site, role):
    os.kill(getattr(site.model.status(), role).pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while site.model.status().healthy and time.monotonic() < deadline:
        time.sleep(0.05)
    assert f"the {role} does not run" in site.model.status().message
    site.model.start()
    assert site.model.status().healthy
    assert site.serving()


def test_servers_hold_no_credentials_of_the_command_that_started_them(site, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    site.model.stop()
    site.model.start()
    champion = local_state.load(site.service).champion
    environment = Path(f"/proc/{champion.daemon.pid}/environ").read_bytes()
    assert b"hidden" not in environment


@pytest.fixture
def promoted_in_the_dark(site, monkeypatch):
    """A version that was promoted by hand while the registry was away."""
    undecided = site.settings.model_copy(update={"max_accuracy_drop": 0.001})
    bundle = site.good()
    result = site.roll_out(bundle, settings=undecided)
    assert result.outcome == "held"
    with monkeypatch.context() as patch:

        def away(*_):
            raise BadInput("the registry is away")

        patch.setattr(Registry, "promote", away)
        with pytest.raises(BadInput, match="is away"):
            site.model.promote()
    assert site.serving() == result.version != site.registry.champion().version
    return bundle, result.version


def test_a_promotion_that_the_registry_did_not_hear_of_is_completed_by_hand(site, promoted_in_the_dark):
    _, version = promoted_in_the_dark
    assert f"version {version} serves all traffic" in site.model.promote()
    assert site.serving() == version == site.registry.champion().version
    status = site.model.status()
    assert (status.healthy, status.challenger, status.rollout) == (True, None, None)


def test_a_promotion_that_the_registry_did_not_hear_of_is_completed_by_the_next_rollout(site, promoted_in_the_dark):
    bundle, version = promoted_in_the_dark
    assert site.roll_out(bundle).outcome == "already_champion"
    assert site.serving() == version == site.registry.champion().version


def test_a_promotion_that_the_registry_did_not_hear_of_is_repaired(site, promoted_in_the_dark):
    _, version = promoted_in_the_dark
    assert f"champion is version {version}" in site.model.repair()
    assert site.registry.champion().version == version
    assert site.model.status().rollout is None


def test_counters_of_another_proxy_are_told_apart(site):
    here = local_state.load(site.service)
    place = (site.service, here.model_name, Path(here.public_key), here.http_port, here.grpc_port)
    sources = []
    for _ in range(2):
        with contextlib.closing(LocalTarget(*place)) as target:
            sources.append({counts.source for counts in target.observe().values()})
        site.model.stop()
        site.model.start()
    assert len(sources[0]) == len(sources[1]) == 1
    assert "" not in sources[0] | sources[1]
    assert sources[0] != sources[1]


def test_a_promotion_that_was_killed_before_the_proxy_knew_is_completed(site, monkeypatch):
    bundle = site.good()
    apply = Service.apply

    class Killed(BaseException):
        """Stands for the end of the process."""

    def dies(service):
        if service.state.draining:
            raise Killed
        apply(service)

    with monkeypatch.context() as patch:
        patch.setattr(Service, "apply", dies)
        with pytest.raises(Killed):
            site.roll_out(bundle)
    result = site.roll_out(bundle)
    assert result.outcome == "promoted"
    assert site.serving() == result.version == site.registry.champion().version
    url = f"http://127.0.0.1:{site.settings.http_port}/v2/models/messages"
    assert httpx.get(url, headers=site.headers, trust_env=False).status_code == httpx.codes.OK


def test_a_champion_that_does_not_start_rejects_nobody_and_is_replaced_by_hand(site):
    before = local_state.load(site.service).champion
    os.kill(before.daemon.pid, signal.SIGKILL)
    model = Path(before.revision.bundle) / "model.onnx"
    content = model.read_bytes()
    model.chmod(0o644)
    model.write_bytes(content[:-1])
    try:
        bundle = site.good()
        with pytest.raises(SlipwayError, match="the champion does not start .*BundleRefused.*slipway promote"):
            site.roll_out(bundle)
        with pytest.raises(SlipwayError, match="the champion does not start"):
            site.model.start()
        challenger = site.registry.challenger()
        assert "outcome" not in challenger.tags
        assert f"version {challenger.version} serves" in site.model.promote()
        assert site.serving() == challenger.version == site.registry.champion().version
    finally:
        model.write_bytes(content)
