"""Slipway from a wheel, in a project with the folders that projects have: nothing there takes the place of ours."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.local.test_slipway_run import Clients, User, wait_for

pytestmark = pytest.mark.local

ROOT = Path(__file__).parents[2]
PARTS = ("components", "pipelines", "serving")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
OF_PYTHON = """
import sys
import slipway

with slipway.Client(sys.argv[1], key=sys.argv[2]) as client:
    print(*client.predict(["parcel late please", "password locked please"]).labels, client.status().ready)
print(slipway.compile("pipeline.yaml"))
try:
    slipway.run({"train": {"epoch": 1}})
except slipway.BadInput as error:
    print(error)
"""
OF_THE_PROJECT = "raise SystemExit(f'a file of the project ran: {__file__}')\n"


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
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


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of its own, whose packages have the names of ours, or of those that we use."""
    for package in (*PARTS, "slipway", "tests"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(OF_THE_PROJECT)
    for module in ("torch", "kfp", "settings", "random"):
        (tmp_path / f"{module}.py").write_text(OF_THE_PROJECT)
    return tmp_path


def test_the_wheel_has_every_file_of_the_package_and_no_other_package(wheel: Path) -> None:
    there = {name for name in ZipFile(wheel).namelist() if not name.partition("/")[0].endswith(".dist-info")}
    ours = [path for part in PARTS for path in (ROOT / part).rglob("*") if path.suffix in (".py", ".csv", ".yaml")]
    own = {"slipway/__init__.py", "slipway/py.typed"}
    assert there == own | {*(f"slipway/{path.relative_to(ROOT).as_posix()}" for path in ours)}


def test_a_run_from_such_a_project_uses_nothing_of_it_and_the_python_api_is_there(
    command: Path, project: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    user = User(project, tiny_encoder, command)
    try:
        done = user.slipway("run")
        logs = "\n".join(path.read_text("utf-8")[-3000:] for path in user.last_run().glob("logs/*.log"))
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{logs}"
        assert "a file of the project ran" not in logs
        assert user.status()["champion"]
        key = user.slipway("keys", "add", "notebook").stdout.strip()
        wait_for(Clients(user.port, key).is_let_in)
        program = [str(command.with_name("python")), "-P", "-c", OF_PYTHON, f"http://127.0.0.1:{user.port}", key]
        asked = subprocess.run(program, cwd=user.folder, env=user.environment, capture_output=True, text=True)
        assert asked.stdout.splitlines()[:2] == ["delivery account True", "pipeline.yaml"], asked.stderr
        assert "did you mean train.epochs" in asked.stdout
    finally:
        user.slipway("stop")
