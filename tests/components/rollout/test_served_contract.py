"""What KServe serves, on a cluster of one process, keeps the contract of all served models."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout.kserve.model import ClusterModel
from slipway.components.rollout.kserve.target import KServeTarget
from tests.components.rollout.conftest import sites
from tests.components.rollout.kserve_cluster import NAME, digest_for
from tests.components.rollout.kserve_site import Site
from tests.components.rollout.served_contract import ServedModelContract


class OneProcess:
    """KServe's Standard mode as `kserve_cluster` plays it, and a registry."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site, self._numbers = site, count(1)
        self.registry = Registry(f"sqlite:///{folder / 'mlflow.db'}", NAME)

    def model(self) -> ClusterModel:
        return ClusterModel(self._site.settings, self.registry)

    def target(self) -> KServeTarget:
        return self._site.target

    def register(self) -> Version:
        number = str(next(self._numbers))
        version = self.registry.register(f"s3://models/{number}", digest_for(number), {})
        assert version.version == number
        return version


class TestServedInOneProcess(ServedModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneProcess]:
        folder = tmp_path_factory.mktemp("cluster")
        with pytest.MonkeyPatch.context() as patch, sites(folder, patch) as make:
            yield OneProcess(make(), folder)
