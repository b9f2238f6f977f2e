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
from slipway.components.rollout.local.service import Service
from slipway.components.rollout.local.target import LocalTarget
from tests.local.site import Clients, Site

pytestmark = pytest.mark.local


def test_a_held_challenger_is_promoted_by_hand(site: Site) -> None:
    undecided = site.settings.model_copy(update={"max_accuracy_drop": 0.001})  # can not be shown with so few texts
    result = site.roll_out(site.good(), settings=undecided)
    assert result.outcome == "held"
    assert site.serving() != result.version
    challenger = site.model.status().challenger
    assert challenger is not None
    assert challenger.version == result.version
    site.model.promote()
    assert site.serving() == result.version == site.champion().version
    assert site.model.status().challenger is None


def test_rollback_by_hand_serves_the_version_before(site: Site) -> None:
    champion, previous = site.champion().version, site.previous().version
    with Clients(site, ["my parcel is late"]) as clients:
        words = site.model.rollback()
    assert clients.failures == 0
    assert f"version {previous} serves" in words
    assert site.serving() == site.champion().version == previous
    assert site.previous().version == champion


def test_a_stopped_service_comes_back_at_the_same_address(site: Site) -> None:
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


def mark_as_of_an_earlier_release(site: Site) -> None:
    """Let the champion's server be one that an earlier release started."""
    here = site.state()
    assert here.champion is not None
    here.champion.release = 0  # as in a state without the field
    local_state.save(site.service, here)


def test_a_champion_that_an_earlier_release_started_is_replaced_without_a_lost_request(site: Site) -> None:
    before, process = site.champion_status(), site.process()
    assert process.pid == before.pid
    mark_as_of_an_earlier_release(site)
    with Clients(site, ["my parcel is late"]) as clients:
        site.model.start()
    assert clients.failures == 0
    assert site.model.status().healthy
    after = site.champion_status()
    assert (after.version, after.digest) == (before.version, before.digest)
    assert after.pid != before.pid
    assert not process.alive()
    again = site.state()
    assert again.champion is not None
    assert (again.champion.release, again.draining) == (local_state.RELEASE, [])
    site.model.start()
    assert site.champion_status().pid == after.pid  # once is enough


def test_a_champion_of_an_earlier_release_stays_when_a_new_one_does_not_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.champion_status()
    mark_as_of_an_earlier_release(site)
    with monkeypatch.context() as broken:
        broken.setattr(servers, "start", without_process)
        with Clients(site, ["my parcel is late"]) as clients:
            site.model.start()
    assert clients.failures == 0
    assert site.champion_status().pid == before.pid
    assert site.state().draining == []
    site.model.start()
    assert site.champion_status().pid != before.pid


def without_process(*_: object, **__: object) -> None:
    """A server that ends at once."""


@pytest.mark.parametrize("role", ["proxy", "champion"])
def test_status_names_what_died_and_start_brings_it_back(site: Site, role: str) -> None:
    os.kill(getattr(site.model.status(), role).pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while site.model.status().healthy and time.monotonic() < deadline:
        time.sleep(0.05)
    assert f"the {role} does not run" in site.model.status().message
    site.model.start()
    assert site.model.status().healthy
    assert site.serving()


def test_servers_hold_no_credentials_of_the_command_that_started_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    site.model.stop()
    site.model.start()
    environment = Path(f"/proc/{site.process().pid}/environ").read_bytes()
    assert b"hidden" not in environment


@pytest.fixture
def promoted_in_the_dark(site: Site, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """A version that was promoted by hand while the registry was away."""
    undecided = site.settings.model_copy(update={"max_accuracy_drop": 0.001})
    bundle = site.good()
    result = site.roll_out(bundle, settings=undecided)
    assert result.outcome == "held"
    with monkeypatch.context() as patch:

        def away(*_: object) -> None:
            raise BadInput("the registry is away")

        patch.setattr(Registry, "promote", away)
        with pytest.raises(BadInput, match="is away"):
            site.model.promote()
    assert site.serving() == result.version != site.champion().version
    return bundle, result.version


def test_a_promotion_that_the_registry_did_not_hear_of_is_completed_by_hand(
    site: Site, promoted_in_the_dark: tuple[Path, str]
) -> None:
    _, version = promoted_in_the_dark
    assert f"version {version} serves all traffic" in site.model.promote()
    assert site.serving() == version == site.champion().version
    status = site.model.status()
    assert (status.healthy, status.challenger, status.rollout) == (True, None, None)


def test_a_promotion_that_the_registry_did_not_hear_of_is_completed_by_the_next_rollout(
    site: Site, promoted_in_the_dark: tuple[Path, str]
) -> None:
    bundle, version = promoted_in_the_dark
    assert site.roll_out(bundle).outcome == "already_champion"
    assert site.serving() == version == site.champion().version


def test_a_promotion_that_the_registry_did_not_hear_of_is_repaired(
    site: Site, promoted_in_the_dark: tuple[Path, str]
) -> None:
    _, version = promoted_in_the_dark
    assert f"champion is version {version}" in site.model.repair()
    assert site.champion().version == version
    assert site.model.status().rollout is None


def test_counters_of_another_proxy_are_told_apart(site: Site) -> None:
    here = site.state()
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


def test_a_promotion_that_was_killed_before_the_proxy_knew_is_completed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = site.good()
    apply = Service.apply

    class Killed(BaseException):
        """Stands for the end of the process."""

    def dies(service: Service) -> None:
        if service.state.draining:
            raise Killed
        apply(service)

    with monkeypatch.context() as patch:
        patch.setattr(Service, "apply", dies)
        with pytest.raises(Killed):
            site.roll_out(bundle)
    result = site.roll_out(bundle)
    assert result.outcome == "promoted"
    assert site.serving() == result.version == site.champion().version
    url = f"http://127.0.0.1:{site.settings.http_port}/v2/models/messages"
    assert httpx.get(url, headers=site.headers, trust_env=False).status_code == httpx.codes.OK


def test_a_champion_that_does_not_start_rejects_nobody_and_is_replaced_by_hand(site: Site) -> None:
    before = site.state().champion
    assert before is not None
    os.kill(site.process().pid, signal.SIGKILL)
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
        assert challenger is not None
        assert "outcome" not in challenger.tags
        assert f"version {challenger.version} serves" in site.model.promote()
        assert site.serving() == challenger.version == site.champion().version
    finally:
        model.write_bytes(content)
