"""Rollouts in KServe's Standard mode under load: no request is lost, and no side lacks pods for its share."""

from dataclasses import replace
from typing import Any

import pytest

from slipway.components.errors import RevisionFailed
from slipway.components.rollout.kserve import wait
from tests.components.rollout import kserve_cluster
from tests.components.rollout.conftest import MakeSite
from tests.components.rollout.kserve_cluster import Cluster
from tests.components.rollout.kserve_site import FIRST, SECOND, THIRD


def test_a_promotion_loses_no_request(make_site: MakeSite) -> None:
    site = make_site()
    target = site.serve(FIRST)
    with site.clients():
        for revision in (SECOND, THIRD):
            target.deploy(revision)
            target.wait_ready(revision, 10.0)
            target.set_traffic(50)
            site.until_answered(revision)
            target.promote()
    assert site.lost == {}
    assert "canary" not in site.service()["spec"]
    assert site.service()["spec"]["predictor"]["name"] == "v3"
    assert site.cluster.led == {"messages-v3-predictor": 100}


def test_a_roll_back_loses_no_request(make_site: MakeSite) -> None:
    site = make_site()
    target = site.serve(FIRST)
    with site.clients():
        for percent in (50, 100):
            target.deploy(SECOND)
            target.wait_ready(SECOND, 10.0)
            target.set_traffic(percent)
            site.until_answered(SECOND)
            target.rollback()
            site.cluster.answers.pop((200, "2"))
    assert site.lost == {}
    assert site.cluster.led == {"messages-v1-predictor": 100}


def test_a_promotion_that_was_cut_short_is_completed_without_a_lost_request(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    target = site.serve(FIRST)
    with site.clients():
        target.deploy(SECOND)
        target.wait_ready(SECOND, 10.0)
        with monkeypatch.context() as patch:
            patch.setattr(wait.Waiting, "until_settled", killed)
            with pytest.raises(KeyboardInterrupt):
                target.promote()
        again = site.target
        again.deploy(SECOND)
        again.wait_ready(SECOND, 10.0)
        again.promote()
        again.deploy(THIRD)
        again.wait_ready(THIRD, 10.0)
        again.set_traffic(30)
    assert site.lost == {}
    assert site.cluster.led == {"messages-v2-predictor": 70, "messages-v3-predictor": 30}


def test_a_challenger_waits_until_no_route_names_the_champion_before(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site()
    target = site.serve(FIRST)
    target.deploy(SECOND)
    target.wait_ready(SECOND, 10.0)
    with monkeypatch.context() as patch:
        patch.setattr(wait.Waiting, "until_rolled_out", killed)
        with pytest.raises(KeyboardInterrupt):
            target.promote()
    site.target.deploy(THIRD)
    assert site.cluster.route == {"messages-v2-predictor": 100}


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("pods", [1, 2, 3])
def test_no_side_falls_below_what_its_share_needs(make_site: MakeSite, pods: int) -> None:
    site = make_site(pods)
    target = site.serve(FIRST)
    with site.clients():
        target.deploy(SECOND)
        target.wait_ready(SECOND, 10.0)
        for percent in (10, 50, 90):
            target.set_traffic(percent)
        target.promote()
        target.deploy(THIRD)
        target.wait_ready(THIRD, 10.0)
        target.set_traffic(60)
        target.rollback()
    assert site.cluster.shortages == set()
    assert site.lost == {}
    assert site.service()["spec"]["predictor"]["minReplicas"] == pods
    assert site.service()["spec"]["predictor"]["maxReplicas"] == pods


def test_a_first_version_is_delivered_when_all_its_pods_are_ready(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(3)
    monkeypatch.setattr(kserve_cluster.Deployment, "ready", lambda _: 2)
    monkeypatch.setattr(Cluster, "pods", two_of_three)
    target = site.target
    target.deploy(FIRST)
    with pytest.raises(RevisionFailed, match="version 1 with 3 pods was not ready"):
        target.wait_ready(FIRST, 0.2)
    monkeypatch.undo()


def two_of_three(cluster: Cluster, version: str) -> list[dict[str, Any]]:  # noqa: ARG001
    """Pods of which the last is not ready."""
    return [
        {
            "metadata": {"name": f"messages-v1-predictor-{number}", "uid": str(number), "labels": {}},
            "status": {"conditions": [kserve_cluster.condition(number < 2)]},
        }
        for number in range(3)
    ]


def test_a_challenger_gets_no_share_that_it_has_no_pods_for(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(3)
    target = site.serve(FIRST)
    target.deploy(SECOND)
    target.wait_ready(SECOND, 10.0)
    target.set_traffic(10)
    monkeypatch.setattr("slipway.components.rollout.kserve.moving.GROW_TIMEOUT_S", 0.2)
    monkeypatch.setattr(kserve_cluster, "POD_S", 60.0)
    site.cluster.deployments["messages-v2-predictor"].born[0] -= 100
    site.cluster.deployments["messages-v1-predictor"].born[:] = [0.0] * 3
    with pytest.raises(RevisionFailed, match=r"it cannot have 50% of traffic: version 2 with 2 pods was not ready"):
        target.set_traffic(50)
    assert site.cluster.route["messages-v2-predictor"] == 10  # noqa: PLR2004
    target.rollback()
    assert target.champion() == FIRST


def test_a_first_version_that_is_removed_leaves_no_route(make_site: MakeSite) -> None:
    site = make_site()
    target = site.target
    target.deploy(FIRST)
    target.wait_ready(FIRST, 10.0)
    target.rollback()
    assert (site.cluster.service, site.cluster.route) == (None, {})
    site.serve(SECOND)
    site.until(lambda: site.cluster.led == {"messages-v2-predictor": 100})


def test_a_gateway_that_cannot_be_asked_gets_time_to_follow(make_site: MakeSite) -> None:
    site = make_site()
    site.settings = site.settings.model_copy(update={"gateway": "http://127.0.0.1:9"})
    target = site.serve(FIRST)
    with site.clients():
        target.deploy(SECOND)
        target.wait_ready(SECOND, 10.0)
        target.set_traffic(50)
        target.promote()
    assert site.lost == {}


def test_a_challenger_that_answers_with_another_bundle_is_no_candidate(make_site: MakeSite) -> None:
    """An older signed bundle was put in its place, say: its pods say so in every answer."""
    site = make_site()
    target, other = site.serve(FIRST), replace(SECOND, digest=THIRD.digest)
    target.deploy(other)
    with pytest.raises(RevisionFailed, match=f"answers with the bundle {SECOND.digest}; registered was {THIRD.digest}"):
        target.wait_ready(other, 10.0)
    assert [pair.challenger for pair in target.compare(["late parcel"])] == [None]
    assert [pair.champion for pair in target.compare(["late parcel"])] == ["billing"]
