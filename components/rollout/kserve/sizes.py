"""How many pods each side of a canary asks for in Standard mode, so that neither has fewer than its share needs.

KServe takes the `minReplicas` of a canary that is ready off the stable predictor's, down to 1 (version 0.21,
`components/predictor.go`; 0.20 does so before the canary is ready, too). Its webhook refuses a canary with more
`minReplicas` than the stable predictor, and one with `maxReplicas`: a canary has a fixed size.
"""

from typing import NamedTuple

from slipway.components.platforms.cluster_settings import ClusterSettings


class Replicas(NamedTuple):
    """What a predictor asks for."""

    minimum: int
    maximum: int


def of_champion(settings: ClusterSettings, challenger: int = 0) -> Replicas:
    """What to ask for the champion, so that it keeps `min_replicas` pods beside a challenger.

    It keeps them all until the promotion, whatever its share is: a roll back gives it all traffic at once.

    Args:
        settings: how many pods a revision has.
        challenger: pods that the challenger asks for; 0 without one.
    """
    floor = settings.min_replicas
    if floor > 1:  # KServe leaves the last pod
        floor += challenger
    minimum = max(floor, challenger)
    return Replicas(minimum, max(settings.max_replicas, minimum))


def of_challenger(settings: ClusterSettings, percent: int, champion_pods: int = 0, asked: int = 1) -> int:
    """Pods that the challenger needs for its share of traffic, at least one.

    All traffic needs `min_replicas` pods, or what the champion has where its autoscaler went above what was asked for.

    Args:
        settings: how many pods a revision has.
        percent: the challenger's share, 0 to 100.
        champion_pods: ready pods of the champion.
        asked: what the challenger asks for now.
    """
    whole = settings.min_replicas
    if champion_pods > whole + asked:
        whole = min(champion_pods, max(settings.max_replicas, whole))
    return max(1, -(-percent * whole // 100))
