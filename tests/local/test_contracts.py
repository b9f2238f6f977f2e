"""This machine, with real model servers and a real Envoy, keeps the contracts of all targets and all served models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.dataset import TextDataset
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout.local.model import LocalModel
from slipway.components.rollout.local.target import LocalTarget
from slipway.components.rollout.settings import RolloutSettings
from slipway.components.rollout.target import Revision
from tests.components.rollout.served_contract import ServedModelContract
from tests.components.rollout.target_contract import TargetContract
from tests.conftest import free_port
from tests.local.site import Site

pytestmark = pytest.mark.local


class Machine:
    """A site of which nothing is served yet."""

    standing: Revision | None = None

    def __init__(self, site: Site) -> None:
        self._site = site
        self.registry: Registry = site.registry

    def model(self) -> LocalModel:
        return self._site.model

    def target(self) -> LocalTarget:
        site, ports = self._site, (self._site.settings.http_port, self._site.settings.grpc_port)
        return LocalTarget(site.service, "messages", site.keys.public_key, *ports)

    def good(self) -> Revision:
        return self._revision(self._site.good())

    def broken(self) -> Revision:
        return self._revision(self._site.bundle("tampered"))

    def _revision(self, bundle: Path) -> Revision:
        return Revision(str(self._site.made), str(bundle), Bundle(bundle).digest())

    def register(self) -> Version:
        revision = self.good()
        return self.registry.register(revision.bundle, revision.digest, {})


@pytest.fixture(scope="class")
def place(
    tmp_path_factory: pytest.TempPathFactory, draft_bundle: Path, small_dataset: TextDataset
) -> Iterator[Machine]:
    """A place of its own for each contract."""
    settings = RolloutSettings(http_port=free_port(), grpc_port=free_port())
    machine = Machine(Site(tmp_path_factory.mktemp("place"), small_dataset.folder, draft_bundle, settings))
    yield machine
    machine.model().stop()


class TestTargetOfThisMachine(TargetContract):
    """The contract of all targets."""


class TestServedByThisMachine(ServedModelContract):
    """The contract of all served models."""
