"""The target of the driver's tests and KServe's on a cluster of one process keep the contract of all targets."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from slipway.components.rollout.target import Revision
from tests.components.rollout.conftest import sites
from tests.components.rollout.kserve_site import OneProcess
from tests.components.rollout.target_contract import TargetContract
from tests.components.rollout.world import Behaviour, FakeTarget


class Memory:
    """The target of the driver's tests."""

    standing: Revision | None = None

    def __init__(self) -> None:
        self._target, self._numbers = FakeTarget(None, {}), count(1)

    def target(self) -> FakeTarget:
        return self._target

    def good(self, **behaviour: Any) -> Revision:
        version = str(next(self._numbers))
        self._target.behaviours[version] = Behaviour(**behaviour)
        return Revision(version, f"/bundles/{version}", f"sha256:{version}")

    def broken(self) -> Revision:
        return self.good(refuses=True)


class TestTargetOfTheDriversTests(TargetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls) -> Memory:
        return Memory()


class TestKServeInOneProcess(TargetContract):
    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OneProcess]:
        with pytest.MonkeyPatch.context() as patch, sites(tmp_path_factory.mktemp("cluster"), patch) as make:
            yield OneProcess(make())
