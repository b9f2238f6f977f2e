"""The target of this machine, with real model servers and a real Envoy, keeps the contract of all targets."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from slipway.components.artifacts.bundle import Bundle
from slipway.components.artifacts.signing import key_pair
from slipway.components.rollout.local.model import LocalModel
from slipway.components.rollout.local.target import LocalTarget
from slipway.components.rollout.target import Revision
from tests.components.rollout.target_contract import TargetContract
from tests.conftest import free_port
from tests.local import bad_bundles

pytestmark = pytest.mark.local


class Machine:
    """A service of this machine."""

    standing: Revision | None = None

    def __init__(self, folder: Path, draft: Path) -> None:
        self._folder, self._draft, self._numbers = folder, draft, count(1)
        self._keys = key_pair(folder / "keys")
        self._ports = (free_port(), free_port())

    def target(self) -> LocalTarget:
        return LocalTarget(self._folder / "service", "messages", self._keys.public_key, *self._ports)

    def good(self, kind: str = "signed_copy") -> Revision:
        version = str(next(self._numbers))
        folder = self._folder / version
        made = getattr(bad_bundles, kind)(self._draft, folder, self._keys.private_key)
        return Revision(version, str(made), Bundle(made).digest())

    def stop(self) -> None:
        LocalModel(self._folder / "service", f"sqlite:///{self._folder}/mlflow.db").stop()

    def broken(self) -> Revision:
        return self.good("tampered")


class TestTargetOfThisMachine(TargetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory, draft_bundle: Path) -> Iterator[Machine]:
        place = Machine(tmp_path_factory.mktemp("place"), draft_bundle)
        yield place
        place.stop()
