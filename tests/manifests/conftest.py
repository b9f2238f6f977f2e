"""What the tests of manifests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manifests.releases import Releases, serving


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[Releases]:
    """The files of all releases, without sums yet."""
    with serving(tmp_path / "install.sums") as served:
        yield served
