"""Slipway as it is installed from a wheel, and a service whose first version serves."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.components.artifacts.dataset import TextDataset
from slipway.components.rollout.settings import RolloutSettings
from tests.conftest import free_port
from tests.local.site import Site

ROOT = Path(__file__).parents[2]
QUICK = {"bake_s": 0.5, "max_error_rise": 0.05, "max_slow_rise": 0.15, "max_accuracy_drop": 0.1}
"""Of rollouts that end in seconds with the few texts of a test."""
PARTS = ("components", "pipelines", "serving")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout, built elsewhere, since a build leaves files behind."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("slipway", *PARTS):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-P", "-c", BUILD, str(made)], cwd=source, check=True, capture_output=True)
    (file,) = made.glob("slipway-*.whl")
    return file


@pytest.fixture(scope="session")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `slipway` of a fresh environment with the wheel; it borrows the other packages of this one."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    # A folder that a .pth file names is searched for packages. Its own .pth files, which name checkouts, are not read.
    (packages / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return environment / "bin" / "slipway"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, draft_bundle: Path, small_dataset: TextDataset) -> Iterator[Site]:
    """A site whose first version serves."""
    settings = RolloutSettings(http_port=free_port(), grpc_port=free_port(), minimum_requests=20, **QUICK)
    here = Site(tmp_path_factory.mktemp("site"), small_dataset.folder, draft_bundle, settings)
    try:
        assert here.roll_out(here.good()).outcome == "promoted"
        yield here
    finally:
        here.model.stop()
