"""Makes worlds in memory, and clusters of one process, for the tests of rollouts."""

import contextlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from slipway.components.rollout.kserve import lease, wait
from slipway.components.rollout.probes import Probes
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Revision
from tests.components.rollout import kserve_cluster, kserve_http
from tests.components.rollout.kserve_cluster import Cluster
from tests.components.rollout.kserve_site import Site, use
from tests.components.rollout.world import (
    LABELS,
    OLD,
    WIDE,
    Behaviour,
    FakeAliases,
    FakeTarget,
    Killed,
    NewWorld,
    World,
)


@pytest.fixture
def world() -> NewWorld:
    """Makes a world: champion version 1 (or none), and version 2 with the given behaviour."""

    def make(
        new: Behaviour | None = None,
        old: Behaviour | None = None,
        first: bool = False,
        floor: float = 0.0,
        **settings: Any,
    ) -> World:
        champion = None if first else OLD
        behaviours = {"1": old or Behaviour(), "2": new or Behaviour(), "3": Behaviour()}
        texts = [f"message {index}" for index in range(240)]
        probes = Probes(texts, [LABELS[index % 3] for index in range(240)])
        aliases = FakeAliases(champion.version if champion else None)
        target = FakeTarget(champion, behaviours)
        return World(target, aliases, RolloutSettings(**(WIDE | settings)), probes, floor=floor)

    return make


@pytest.fixture
def behaviour() -> type[Behaviour]:
    """The script of a revision."""
    return Behaviour


@pytest.fixture
def killed() -> type[Killed]:
    """What ends a killed driver."""
    return Killed


@pytest.fixture
def third() -> Revision:
    """A version that comes later."""
    return Revision("3", "/bundles/3", "sha256:3")


class MakeSite(Protocol):
    """Makes a cluster of one process, and targets on it; what it is told is of the cluster."""

    def __call__(self, pods: int = 1, **of_cluster: Any) -> Site: ...


@contextlib.contextmanager
def sites(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[MakeSite]:
    """Makes clusters of one process whose KServe is in Standard mode; the last is that of this process."""
    patch.setattr(wait, "LOOK_S", 0.02)
    patch.setattr(wait, "BLIND_S", 2 * kserve_cluster.GATEWAY_S)
    patch.setattr(lease, "RENEW_S", 0.1)
    with ExitStack() as stack:

        def make(pods: int = 1, **of_cluster: Any) -> Site:
            cluster = Cluster(pods, **of_cluster)
            api, gateway = stack.enter_context(kserve_http.serving(cluster))
            use(api, folder / "kubeconfig", patch)
            return Site(cluster, gateway, pods)

        yield make


@pytest.fixture
def make_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSite]:
    """Makes a cluster of one process whose KServe is in Standard mode."""
    with sites(tmp_path, monkeypatch) as make:
        yield make
