"""What this machine serves, with real model servers and a real Envoy, keeps the contract of all served models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.signing import key_pair
from slipway.components.platforms.model_registry import Registry, Version
from slipway.components.rollout.local.model import LocalModel
from slipway.components.rollout.local.target import LocalTarget
from tests.components.rollout.served_contract import ServedModelContract
from tests.conftest import free_port
from tests.local import bad_bundles

pytestmark = pytest.mark.local


class Machine:
    """A service of this machine, and a registry."""

    def __init__(self, folder: Path, draft: Path) -> None:
        self._folder, self._draft, self._made = folder, draft, 0
        self._keys, self._ports = key_pair(folder / "keys"), (free_port(), free_port())
        self.registry = Registry(f"sqlite:///{folder / 'mlflow.db'}", "messages")

    def model(self) -> LocalModel:
        return LocalModel(self._folder / "service", f"sqlite:///{self._folder / 'mlflow.db'}")

    def target(self) -> LocalTarget:
        return LocalTarget(self._folder / "service", "messages", self._keys.public_key, *self._ports)

    def register(self) -> Version:
        self._made += 1
        folder = bad_bundles.signed_copy(self._draft, self._folder / str(self._made), self._keys.private_key)
        return self.registry.register(str(folder), Bundle(folder).digest(), {})


class TestServedByThisMachine(ServedModelContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory, draft_bundle: Path) -> Iterator[Machine]:
        place = Machine(tmp_path_factory.mktemp("place"), draft_bundle)
        yield place
        place.model().stop()
