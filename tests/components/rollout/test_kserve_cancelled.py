"""A run that was ended from outside leaves no half-done canary behind, unless somebody drives it."""

import datetime
from pathlib import Path
from typing import Any

import pytest

from slipway.components.platforms.model_registry import Registry
from slipway.components.rollout import state
from slipway.components.rollout.kserve import wait
from slipway.components.rollout.kserve.cancelled import take_back
from slipway.components.rollout.state import RolloutState
from tests.components.rollout.conftest import MakeSite
from tests.components.rollout.kserve_cluster import NAME
from tests.components.rollout.kserve_http import LEASES
from tests.components.rollout.kserve_site import FIRST, SECOND, THIRD, Site


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry with versions 1, 2 and 3."""
    made = Registry(f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}", NAME)
    for revision in (FIRST, SECOND, THIRD):
        assert made.register(revision.bundle, revision.digest, {}).version == revision.version
    return made


@pytest.fixture
def site(make_site: MakeSite, registry: Registry) -> Site:
    """Version 1 serves, and the canary of version 2 has 10 % and a dead driver."""
    made: Site = make_site()
    target = made.serve(FIRST)
    registry.promote("1")
    registry.nominate("2")
    target.save_state(state.to_json(RolloutState(SECOND, FIRST, "traffic")))
    target.deploy(SECOND)
    target.wait_ready(SECOND, 10.0)
    target.set_traffic(10)
    return made


def hold(site: Site, age_s: float) -> None:
    """The lease of a driver that renewed it so long ago."""
    renewed = (datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age_s)).isoformat()
    spec = {"holderIdentity": "pod-1/7/x", "leaseDurationSeconds": 20, "renewTime": renewed, "acquireTime": renewed}
    metadata = {"name": f"{NAME}-rollout", "resourceVersion": "1"}
    site.cluster.objects[f"{LEASES}/{NAME}-rollout"] = {"metadata": metadata, "spec": spec}


def test_a_half_done_canary_is_taken_back_once_its_driver_counts_as_dead(site: Site, registry: Registry) -> None:
    hold(site, 19.0)
    with site.clients():
        said = take_back(NAME, site.settings, registry, "2")
    assert said == "version 2 had 10 % of the traffic and was rolled back"
    assert site.lost == {}
    assert site.cluster.led == {"messages-v1-predictor": 100}
    assert (site.target.champion(), site.target.challenger(), site.target.load_state()) == (FIRST, None, None)
    assert registry.challenger() is None
    assert registry.version("2").tags["reason"] == "the run was cancelled"
    assert take_back(NAME, site.settings, registry, "2") == "nothing was on its way"


def test_a_rollout_that_somebody_drives_is_left_alone(site: Site, registry: Registry) -> None:
    with site.target.lock():
        said = take_back(NAME, site.settings, registry, "2", free_s=0.3)
    assert said.startswith("another rollout holds it (process ")
    assert said.endswith("): left as it is")
    assert site.target.challenger() == SECOND


def test_the_rollout_of_another_version_is_none_of_its_business(site: Site, registry: Registry) -> None:
    assert take_back(NAME, site.settings, registry, "3") == "nothing was on its way"
    assert site.target.challenger() == SECOND


def test_one_that_was_cut_short_itself_is_completed(
    site: Site, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(wait.Waiting, "until_rolled_out", killed)
        with pytest.raises(KeyboardInterrupt):
            take_back(NAME, site.settings, registry, "2")
    kept = state.from_json(site.target.load_state() or {})
    assert kept.decision
    assert kept.decision.reason == "the run was cancelled"
    assert take_back(NAME, site.settings, registry, "2") == "version 2 was being rolled back, which was completed"
    assert registry.version("2").tags["outcome"] == "rejected"


def test_a_promotion_whose_aliases_were_not_moved_is_completed(site: Site, registry: Registry) -> None:
    target = site.target
    with target.lock():
        target.promote()
    assert take_back(NAME, site.settings, registry, "2") == "version 2 had been promoted and serves all traffic"
    champion = registry.champion()
    assert champion
    assert champion.version == "2"
    assert site.target.load_state() is None
    registry.promote("1")


def test_a_first_version_that_is_half_started_is_removed(make_site: MakeSite, registry: Registry) -> None:
    site: Site = make_site()
    target = site.target
    target.save_state(state.to_json(RolloutState(THIRD, None)))
    target.deploy(THIRD)
    said = take_back(NAME, site.settings, registry, "3")
    assert said == "version 3, the first to be served here, had not been promoted and was removed"
    assert site.cluster.service is None
    assert registry.version("3").tags["outcome"] == "rejected"


def test_without_a_service_nothing_was_on_its_way(make_site: MakeSite, registry: Registry, tmp_path: Path) -> None:
    assert tmp_path.exists()
    assert take_back(NAME, make_site().settings, registry, "2") == "nothing was on its way"


def killed(*_: Any) -> None:
    raise KeyboardInterrupt
