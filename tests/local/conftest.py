"""A service whose first version serves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.rollout.settings import RolloutSettings
from tests.conftest import free_port
from tests.local.site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, draft_bundle: Path, small_dataset: TextDataset) -> Iterator[Site]:
    """A site whose first version serves."""
    settings = RolloutSettings(http_port=free_port(), grpc_port=free_port(), minimum_requests=20)
    here = Site(tmp_path_factory.mktemp("site"), small_dataset.folder, draft_bundle, settings)
    try:
        assert here.roll_out(here.good()).outcome == "promoted"
        yield here
    finally:
        here.model.stop()
