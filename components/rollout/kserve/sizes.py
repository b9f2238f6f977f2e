"""How many pods champion and challenger request, so that neither has fewer than its share of traffic needs.

In Standard mode KServe subtracts the `minReplicas` of a ready canary from the stable predictor's, down to 1 (version
0.21, `components/predictor.go`; version 0.20 also before the canary is ready). Its webhook rejects a canary with more
`minReplicas` than the stable predictor, and one with `maxReplicas`. So a canary has a fixed size.
"""

from typing import NamedTuple

from slipway.components.platforms.cluster_settings import ClusterSettings


class Replicas(NamedTuple):
    """Numbers of pods in a predictor's specification."""

    minimum: int
    maximum: int


def of_champion(settings: ClusterSettings, challenger: int = 0) -> Replicas:
    """Pods to request for the champion, so that it keeps `min_replicas` pods beside a challenger.

    The champion keeps all of them until the promotion, whatever its share is, since a rollback gives it all traffic at
    once.

    Args:
        settings: how many pods a revision has.
        challenger: pods that the challenger requests; 0 without a challenger.
    """
    floor = settings.min_replicas
    if floor > 1:  # KServe does not subtract the last pod
        floor += challenger
    minimum = max(floor, challenger)
    return Replicas(minimum, max(settings.max_replicas, minimum))


def of_challenger(settings: ClusterSettings, percent: int, champion_pods: int = 0, requested: int = 1) -> int:
    """Pods that the challenger needs for its share of traffic, at least one.

    All traffic needs `min_replicas` pods, or as many as the champion has when its autoscaler started more of them.

    Args:
        settings: how many pods a revision has.
        percent: the challenger's share, from 0 to 100.
        champion_pods: ready pods of the champion.
        requested: pods that the challenger requests now.
    """
    for_all_traffic = settings.min_replicas
    if champion_pods > for_all_traffic + requested:
        for_all_traffic = min(champion_pods, max(settings.max_replicas, for_all_traffic))
    return max(1, -(-percent * for_all_traffic // 100))  # rounded up
