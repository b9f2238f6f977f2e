"""What KServe serves, on a cluster of one process, keeps the contract of all served models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout.kserve.model import ClusterModel
from tests.components.rollout.conftest import sites
from tests.components.rollout.kserve_cluster import NAME
from tests.components.rollout.kserve_site import OneProcess, Site
from tests.components.rollout.served_contract import ServedModelContract


class Registered(OneProcess):
    """The same with a registry."""

    def __init__(self, site: Site, folder: Path) -> None:
        super().__init__(site)
        self.registry = Registry(f"sqlite:///{folder / 'mlflow.db'}", NAME)

    def model(self) -> ClusterModel:
        return ClusterModel(self._site.settings, self.registry)

    def register(self) -> Version:
        revision = self.good()
        version = self.registry.register(revision.bundle, revision.digest, {})
        assert version.version == revision.version
        return version


class TestServedInOneProcess(ServedModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
        folder = tmp_path_factory.mktemp("cluster")
        with pytest.MonkeyPatch.context() as patch, sites(folder, patch) as make:
            yield Registered(make(), folder)
