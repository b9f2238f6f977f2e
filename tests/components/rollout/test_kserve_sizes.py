"""Pods of both sides of a canary, under KServe's own arithmetic."""

import math

import pytest

from slipway.components.platforms.cluster_settings import ClusterSettings
from slipway.components.rollout.kserve import sizes
from tests.components.rollout.kserve_cluster import stable_minimum

PERCENTS = (0, 1, 10, 25, 33, 50, 66, 90, 100)


@pytest.mark.parametrize("least", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("most", [1, 3, 10])
@pytest.mark.parametrize("percent", PERCENTS)
def test_each_side_has_what_its_share_needs_and_the_webhook_agrees(least: int, most: int, percent: int) -> None:
    settings = ClusterSettings(min_replicas=least, max_replicas=most)
    for ready_champions in (least, most, least + 3):
        challenger = sizes.of_challenger(settings, percent, ready_champions)
        champion = sizes.of_champion(settings, challenger)
        assert challenger >= max(1, math.ceil(percent * least / 100))
        assert challenger <= champion.minimum <= champion.maximum  # what KServe's webhook asks for
        assert max(least, most) <= champion.maximum
        for taken in (0, challenger):  # before and after KServe counts the canary as ready
            assert stable_minimum(champion.minimum, taken) >= least


def test_without_a_challenger_the_champion_asks_for_what_was_set() -> None:
    assert sizes.of_champion(ClusterSettings(min_replicas=2, max_replicas=4)) == (2, 4)


def test_one_pod_is_not_doubled_since_kserve_leaves_the_last() -> None:
    assert sizes.of_champion(ClusterSettings(min_replicas=1, max_replicas=1), 1) == (1, 1)


def test_the_challenger_grows_as_the_champion_has_been_scaled() -> None:
    settings = ClusterSettings(min_replicas=1, max_replicas=6)
    assert sizes.of_challenger(settings, 50, champion_pods=5) == 3  # noqa: PLR2004
    assert sizes.of_challenger(settings, 100, champion_pods=9, requested=3) == 6  # noqa: PLR2004
    assert sizes.of_challenger(settings, 100, champion_pods=2, requested=1) == 1  # what was asked for, not the load
